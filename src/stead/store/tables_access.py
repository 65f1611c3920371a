"""Tables of people and money: users, keys, spend, counters of limits, audit.

Knows nothing about queries; the conventions are those of `store/tables`.
"""

import sqlalchemy as sa

from stead.store.metadata import METADATA

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
