"""Jobs, runs with metrics and events, models, data sets, evaluations, artefacts, chats, settings.

Knows nothing about later forms; never changed once released.
"""

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"

_JSON = sa.JSON(none_as_null=True)
_STATES = "'queued', 'running', 'pausing', 'paused', 'succeeded', 'failed', 'cancelled'"


def upgrade() -> None:
    """Make the tables."""
    _jobs()
    _runs()
    _models()
    _results()
    _people()


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("priority", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("request", sa.Text),
        sa.Column("asked", sa.Text),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("starts", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("gpus", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("holder", sa.Text),
        sa.Column("realm", sa.Text),
        sa.Column("until", sa.Double),
        sa.Column("pid", sa.BigInteger),
        sa.Column("pid_started", sa.Double),
        sa.Column("folder", sa.Text),
        sa.Column("tail", sa.BigInteger, nullable=False),
        sa.Column("progress", sa.Double),
        sa.Column("error", _JSON),
        sa.Column("result", _JSON),
        sa.Column("run", sa.Text),
        sa.Column("retry_of", sa.Text),
        sa.Column("dead", sa.Boolean, nullable=False),
        sa.UniqueConstraint("idempotency_key", name="uq_jobs_idempotency_key"),
        sa.CheckConstraint(f"state IN ({_STATES})", name="ck_jobs_state"),
    )
    op.create_index("ix_jobs_created_at", "jobs", ["created_at", "id"])
    op.create_index("ix_jobs_run", "jobs", ["run"])
    op.create_index(
        "ix_jobs_queued",
        "jobs",
        [sa.text("priority DESC"), "created_at", "id"],
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_jobs_held",
        "jobs",
        ["until"],
        sqlite_where=sa.text("state IN ('running', 'pausing')"),
        postgresql_where=sa.text("state IN ('running', 'pausing')"),
    )
    op.create_table(
        "attempts",
        sa.Column(
            "job", sa.Text, sa.ForeignKey("jobs.id", name="fk_attempts_job"), primary_key=True
        ),
        sa.Column("attempt", sa.BigInteger, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger),
        sa.Column("began_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("outcome", sa.Text),
        sa.Column("error", _JSON),
    )


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("adapter", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("out", sa.Text, nullable=False),
        sa.Column("plan", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("steps", sa.BigInteger),
        sa.Column("epoch", sa.Double),
        sa.Column("loss", sa.Double),
        sa.Column("eval_loss", sa.Double),
        sa.Column("lr", sa.Double),
        sa.Column("grad_norm", sa.Double),
        sa.Column("tokens", sa.BigInteger),
        sa.Column("tokens_per_s", sa.Double),
        sa.Column("seconds_left", sa.Double),
        sa.Column("peak_bytes", sa.BigInteger),
        sa.Column("forecast", _JSON),
        sa.Column("parent", sa.Text),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("error", _JSON),
        sa.Column("result", _JSON),
        sa.Column("job", sa.Text),
        sa.Column("owner", sa.Text),
        sa.CheckConstraint(f"state IN ({_STATES})", name="ck_runs_state"),
    )
    op.create_index(
        "ix_runs_search", "runs", ["created_at", "id", "state", "name", "model", "method"]
    )
    op.create_index("ix_runs_state", "runs", ["state", "created_at", "id"])
    op.create_index("ix_runs_out", "runs", ["out"])
    op.create_table(
        "metrics",
        sa.Column(
            "run",
            sa.Text,
            sa.ForeignKey("runs.id", name="fk_metrics_run", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("block", sa.Integer, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("first_step", sa.BigInteger, nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("summary", sa.LargeBinary),
        sa.Column("points", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("first", sa.BigInteger, primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("ix_events_subject_last", "events", ["subject", "last"])


def _models() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("base_model", sa.Text),
        sa.Column("task", sa.Text),
        sa.Column("strategy", sa.Text),
        sa.Column("provider", sa.Text),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("compute_profile", sa.Text),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.UniqueConstraint("name", name="uq_models_name"),
    )
    op.create_index("ix_models_created_at", "models", ["created_at", "id"])
    op.create_table(
        "versions",
        sa.Column(
            "model",
            sa.Text,
            sa.ForeignKey("models.id", name="fk_versions_model", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("run", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.UniqueConstraint("model", "hash", name="uq_versions_model_hash"),
    )
    op.create_table(
        "aliases",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("alias", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "version"],
            ["versions.model", "versions.version"],
            name="fk_aliases_version",
            ondelete="CASCADE",
        ),
    )


def _results() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger),
        sa.Column("reader", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("kind", sa.Text),
        sa.Column("columns", sa.JSON, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    )
    op.create_index("ix_datasets_created_at", "datasets", ["created_at", "id"])
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("job", sa.Text),
        sa.Column("run", sa.Text),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("models", sa.JSON, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("summary", _JSON),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_evaluations_created_at", "evaluations", ["created_at", "id"])
    op.create_table(
        "artefacts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("job", sa.Text),
        sa.Column("run", sa.Text),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("quant", sa.Text),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_artefacts_created_at", "artefacts", ["created_at", "id"])
    op.create_index("ix_artefacts_run", "artefacts", ["run"])


def _people() -> None:
    op.create_table(
        "chats",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    )
    op.create_index("ix_chats_created_at", "chats", ["created_at", "id"])
    op.create_table(
        "messages",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "chat",
            sa.Text,
            sa.ForeignKey("chats.id", name="fk_messages_chat", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column(
            "parent",
            sa.Text,
            sa.ForeignKey(
                "messages.id", name="fk_messages_parent", ondelete="CASCADE", deferrable=True
            ),
        ),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("usage", _JSON),
        sa.Column("deviations", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_messages_chat", "messages", ["chat", "created_at", "id"])
    op.create_index("ix_messages_parent", "messages", ["parent"])
    op.create_table(
        "settings",
        sa.Column(
            "version",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("before", _JSON),
        sa.Column("after", _JSON),
    )
    op.create_index("ix_settings_key", "settings", ["key", "version"])
