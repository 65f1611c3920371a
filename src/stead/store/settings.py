"""The history of settings: each change is a version of its own, and can be taken back by a further one.

Knows nothing about what settings mean or where they are in force; secrets never come here.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stead.core.errors import NotFound
from stead.store.db import Database
from stead.store.tables import SETTINGS


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `before` and `after` are {"value": …}; None: it was, or is, not set."""

    version: int
    at: float
    actor: str
    key: str
    before: dict[str, Any] | None  # Any: JSON value
    after: dict[str, Any] | None


Changes = list[Change]


class SettingsHistory:
    """The table of changes."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def add(
        self,
        actor: str,
        key: str,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
    ) -> Change:
        """Record a change."""

        def work(connection: Connection) -> Change:
            row = {
                "at": self._clock(),
                "actor": actor,
                "key": key,
                "before": before,
                "after": after,
            }
            made = connection.execute(sa.insert(SETTINGS).values(**row).returning(SETTINGS)).one()
            return Change(**made._mapping)

        return self._database.transact(work)

    def list(self, *, key: str | None = None, most: int = 100) -> Changes:
        """Return changes, newest first."""
        query = sa.select(SETTINGS).order_by(SETTINGS.c.version.desc()).limit(most)
        if key is not None:
            query = query.where(SETTINGS.c.key == key)
        with self._database.read() as connection:
            return [Change(**row._mapping) for row in connection.execute(query)]

    def get(self, version: int) -> Change:
        """Return one change. Raises: NotFound("no-setting-version")."""
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(SETTINGS).where(SETTINGS.c.version == version)
            ).first()
        if row is None:
            raise NotFound("no-setting-version", f"there is no change {version} of the settings")
        return Change(**row._mapping)
