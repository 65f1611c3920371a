"""The audit log: who did what to which thing, append only.

Knows nothing about what is done; changes of keys and users write their own lines in their transactions.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stead.store.access import Deed
from stead.store.db import Database
from stead.store.rows import Json
from stead.store.tables import AUDIT


@dataclass(frozen=True, slots=True)
class Line:
    """One numbered line. Time in Unix seconds."""

    id: int
    at: float
    actor: str
    action: str
    subject: str
    before: Json | None = None
    after: Json | None = None


class Audit:
    """The table of deeds."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def add(
        self,
        actor: str,
        action: str,
        subject: str,
        before: Json | None = None,
        after: Json | None = None,
    ) -> None:
        """Write a line."""
        deed = asdict(Deed(self._clock(), actor, action, subject, before, after))

        def work(connection: Connection) -> None:
            connection.execute(sa.insert(AUDIT), [deed])

        self._database.transact(work)

    def lines(self, *, before: int | None = None, most: int = 100) -> list[Line]:
        """Return lines, newest first; `before`: only those with a smaller number."""
        query = sa.select(AUDIT).order_by(AUDIT.c.id.desc()).limit(most)
        if before is not None:
            query = query.where(AUDIT.c.id < before)
        with self._database.read() as connection:
            return [Line(**row._mapping) for row in connection.execute(query)]

    def count(self) -> int:
        """Return how many lines there are."""
        with self._database.read() as connection:
            query = sa.select(sa.func.count()).select_from(AUDIT)
            return int(connection.execute(query).scalar_one())
