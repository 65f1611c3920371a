"""Tables of work: jobs with their attempts, runs with their measurements, events.

Knows nothing about queries; the conventions are those of `store/tables`.
"""

import sqlalchemy as sa

from stead.store.metadata import JOB_STATES, JSON, METADATA

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
    sa.Column("error", JSON),
    sa.Column("result", JSON),
    sa.Column("run", sa.Text),
    sa.Column("retry_of", sa.Text),
    sa.Column("dead", sa.Boolean, nullable=False),  # given up after too many failures
    sa.UniqueConstraint("idempotency_key", name="uq_jobs_idempotency_key"),
    sa.CheckConstraint(f"state IN ({JOB_STATES})", name="ck_jobs_state"),
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
    sa.Column("error", JSON),
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
    sa.Column("forecast", JSON),
    sa.Column("parent", sa.Text),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("error", JSON),
    sa.Column("result", JSON),
    sa.Column("job", sa.Text),
    sa.Column("owner", sa.Text),
    sa.CheckConstraint(f"state IN ({JOB_STATES})", name="ck_runs_state"),
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
