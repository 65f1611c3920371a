"""Tables of what is kept: models, data sets, evaluations, artefacts, chats, settings.

Knows nothing about queries; the conventions are those of `store/tables`.
"""

import sqlalchemy as sa

from stead.store.metadata import JSON, METADATA

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
    sa.Column("summary", JSON),
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
    sa.Column("usage", JSON),
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
    sa.Column("before", JSON),
    sa.Column("after", JSON),
    sa.Index("ix_settings_key", "key", "version"),
)
