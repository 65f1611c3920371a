"""The tables, as the newest migration leaves them.

Knows nothing about queries. Times are Unix seconds in UTC, money is picodollars (64 bits), ids are texts made by us.
`HEAD` is the migration this describes; a test compares the two. A migration repeats the tables as they were in its
own time on purpose: one that imported them would change with them, and no longer make what it once made.
"""

from stead.store.metadata import METADATA
from stead.store.tables_access import AUDIT, COUNTERS, KEYS, RESERVATIONS, SPEND, USERS
from stead.store.tables_kept import (
    ALIASES,
    ARTEFACTS,
    CHATS,
    DATASETS,
    EVALUATIONS,
    MESSAGES,
    MODELS,
    SETTINGS,
    VERSIONS,
)
from stead.store.tables_work import ATTEMPTS, EVENTS, JOBS, METRICS, RUNS

HEAD = "v0002"
__all__ = [
    "ALIASES",
    "ARTEFACTS",
    "ATTEMPTS",
    "AUDIT",
    "CHATS",
    "COUNTERS",
    "DATASETS",
    "EVALUATIONS",
    "EVENTS",
    "HEAD",
    "JOBS",
    "KEYS",
    "MESSAGES",
    "METADATA",
    "METRICS",
    "MODELS",
    "RESERVATIONS",
    "RUNS",
    "SETTINGS",
    "SPEND",
    "USERS",
    "VERSIONS",
]
