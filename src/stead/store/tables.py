"""The tables, as the newest migration leaves them.

Knows nothing about queries. Times are Unix seconds in UTC, money is picodollars (64 bits), ids are texts made by us.
`HEAD` is the migration this describes; a test compares the two. Long because every table is here.
"""

import sqlalchemy as sa

HEAD = "v0002"
METADATA = sa.MetaData()

USERS = sa.Table(
    "users",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("disabled_at", sa.Double),
    sa.UniqueConstraint("name", name="uq_users_name"),
    sa.CheckConstraint("role IN ('admin', 'member', 'viewer')", name="ck_users_role"),
)

KEYS = sa.Table(
    "keys",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.id", name="fk_keys_user_id")),
    sa.Column("hash", sa.Text, nullable=False),  # SHA-256 of the whole token, hex
    sa.Column("models", sa.JSON(none_as_null=True)),  # list of names; null: all
    sa.Column("rpm", sa.BigInteger),
    sa.Column("tpm", sa.BigInteger),
    sa.Column("concurrency", sa.BigInteger),
    sa.Column("daily_budget", sa.BigInteger),
    sa.Column("monthly_budget", sa.BigInteger),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Column("revoked_at", sa.Double),
)

SPEND = sa.Table(
    "spend",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("call", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("key", sa.Text, nullable=False),  # "" without keys; kept when the key is gone
    sa.Column("strategy", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("served", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("streamed", sa.Boolean, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("code", sa.Text),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False),
    sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
    sa.Column("cache_write_tokens", sa.BigInteger, nullable=False),
    sa.Column("cost", sa.BigInteger, nullable=False),
    sa.Column("unpriced", sa.Integer, nullable=False),
    sa.Column("estimated", sa.Boolean, nullable=False),
    sa.Column("cached", sa.Boolean, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("first_s", sa.Double),
    sa.Column("attempts", sa.JSON, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("deviations", sa.JSON, nullable=False),
    sa.Index("ix_spend_call", "call"),
    sa.Index("ix_spend_at", "at"),
    sa.Index("ix_spend_key_at", "key", "at"),
    sa.Index("ix_spend_model_at", "model", "at"),
)

COUNTERS = sa.Table(
    "counters",
    METADATA,
    sa.Column("limit_id", sa.Text, primary_key=True),
    sa.Column("slot", sa.BigInteger, primary_key=True),
    sa.Column("used", sa.BigInteger, nullable=False),
)

RESERVATIONS = sa.Table(
    "reservations",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("limit_id", sa.Text, primary_key=True),
    sa.Column("slot", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Index("ix_reservations_limit_id_expires_at", "limit_id", "expires_at"),
)

AUDIT = sa.Table(
    "audit",
    METADATA,
    sa.Column(
        "id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("before", sa.JSON(none_as_null=True)),
    sa.Column("after", sa.JSON(none_as_null=True)),
    sa.Index("ix_audit_at", "at"),
)

_JSON = sa.JSON(none_as_null=True)
_RUN_STATES = "'queued', 'running', 'pausing', 'paused', 'succeeded', 'failed', 'cancelled'"

JOBS = sa.Table(
    "jobs",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("priority", sa.BigInteger, nullable=False),  # higher is earlier
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("fingerprint", sa.Text, nullable=False),  # SHA-256 of what was asked for
    sa.Column("request", sa.Text),  # cancel, pause or resume: asked for, not yet done
    sa.Column("asked", sa.Text),  # the request that its worker was told
    sa.Column("attempt", sa.BigInteger, nullable=False),  # fencing token: rises with each holder
    sa.Column("starts", sa.Integer, nullable=False),  # workers started
    sa.Column("failures", sa.Integer, nullable=False),  # in a row, without progress
    sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    sa.Column("gpus", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Column("holder", sa.Text),  # the supervisor
    sa.Column("realm", sa.Text),  # whose clock `until` is read on
    sa.Column("until", sa.Double),  # end of the lease; while queued: not before
    sa.Column("pid", sa.BigInteger),
    sa.Column("pid_started", sa.Double),
    sa.Column("folder", sa.Text),
    sa.Column("tail", sa.BigInteger, nullable=False),  # bytes of its events that are stored
    sa.Column("progress", sa.Double),
    sa.Column("error", _JSON),
    sa.Column("result", _JSON),
    sa.Column("run", sa.Text),
    sa.Column("retry_of", sa.Text),
    sa.Column("dead", sa.Boolean, nullable=False),  # given up after too many failures
    sa.UniqueConstraint("idempotency_key", name="uq_jobs_idempotency_key"),
    sa.CheckConstraint(f"state IN ({_RUN_STATES})", name="ck_jobs_state"),
    sa.Index("ix_jobs_created_at", "created_at", "id"),
    sa.Index("ix_jobs_run", "run"),
    sa.Index(
        "ix_jobs_queued",
        sa.text("priority DESC"),
        "created_at",
        "id",
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    ),
    sa.Index(
        "ix_jobs_held",
        "until",
        sqlite_where=sa.text("state IN ('running', 'pausing')"),
        postgresql_where=sa.text("state IN ('running', 'pausing')"),
    ),
)

ATTEMPTS = sa.Table(
    "attempts",
    METADATA,
    sa.Column("job", sa.Text, sa.ForeignKey("jobs.id", name="fk_attempts_job"), primary_key=True),
    sa.Column("attempt", sa.BigInteger, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger),
    sa.Column("began_at", sa.Double, nullable=False),
    sa.Column("ended_at", sa.Double),
    sa.Column("outcome", sa.Text),
    sa.Column("error", _JSON),
)

RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("adapter", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("out", sa.Text, nullable=False),
    sa.Column("plan", sa.Text),  # hash
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
    sa.CheckConstraint(f"state IN ({_RUN_STATES})", name="ck_runs_state"),
    sa.Index("ix_runs_search", "created_at", "id", "state", "name", "model", "method"),
    sa.Index("ix_runs_state", "state", "created_at", "id"),
    sa.Index("ix_runs_out", "out"),
)

METRICS = sa.Table(
    "metrics",
    METADATA,
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
    sa.Column("summary", sa.LargeBinary),  # of a full block: least and greatest of each 64 points
    sa.Column("points", sa.LargeBinary, nullable=False),  # n steps as <u4, then n values as <f4
)

EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("subject", sa.Text, primary_key=True),  # a run, or a job without one
    sa.Column("first", sa.BigInteger, primary_key=True),  # number of the first event
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),  # JSON lines
    sa.Index("ix_events_subject_last", "subject", "last"),
)

MODELS = sa.Table(
    "models",
    METADATA,
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
    sa.Index("ix_models_created_at", "created_at", "id"),
)

VERSIONS = sa.Table(
    "versions",
    METADATA,
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

ALIASES = sa.Table(
    "aliases",
    METADATA,
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

DATASETS = sa.Table(
    "datasets",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger),
    sa.Column("reader", sa.Text, nullable=False),
    sa.Column("format", sa.Text, nullable=False),
    sa.Column("kind", sa.Text),
    sa.Column(
        "columns", sa.JSON, nullable=False
    ),  # mapping of roles to columns, as the recipe has it
    sa.Column("facts", sa.JSON, nullable=False),  # what was found: explanation, problems, …
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Index("ix_datasets_created_at", "created_at", "id"),
)

EVALUATIONS = sa.Table(
    "evaluations",
    METADATA,
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
    sa.Index("ix_evaluations_created_at", "created_at", "id"),
)

ARTEFACTS = sa.Table(
    "artefacts",
    METADATA,
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
    sa.Index("ix_artefacts_created_at", "created_at", "id"),
    sa.Index("ix_artefacts_run", "run"),
)

CHATS = sa.Table(
    "chats",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("settings", sa.JSON, nullable=False),  # models, system prompt, parameters
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Index("ix_chats_created_at", "created_at", "id"),
)

MESSAGES = sa.Table(
    "messages",
    METADATA,
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
    sa.Column("content", sa.JSON, nullable=False),  # a text, or parts
    sa.Column("model", sa.Text),
    sa.Column("usage", _JSON),
    sa.Column("deviations", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Index("ix_messages_chat", "chat", "created_at", "id"),
    sa.Index("ix_messages_parent", "parent"),
)

SETTINGS = sa.Table(
    "settings",
    METADATA,
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
    sa.Index("ix_settings_key", "key", "version"),
)
