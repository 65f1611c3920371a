"""Training runs in the database: their state as lists show it, their measurements, their events.

Knows nothing about run folders or jobs; a run's state is changed with its job's, by `store/queue`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from stead.core.errors import NotFound
from stead.store import events, metrics
from stead.store.db import Database
from stead.store.events import Stored
from stead.store.metrics import Point, Series
from stead.store.rows import Conditions, Json, Page, Rows, columns, contains
from stead.store.tables import RUNS

Names = list[str]
Told = list[Stored]


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Times in Unix seconds, sizes in bytes; None: not known (yet)."""

    id: str
    name: str
    state: str
    method: str
    adapter: str
    model: str
    data: str
    out: str
    created_at: float
    plan: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    step: int = 0
    steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    tokens: int | None = None
    tokens_per_s: float | None = None
    seconds_left: float | None = None
    peak_bytes: int | None = None
    forecast: Json | None = None
    parent: str | None = None
    tags: list[str] = field(default_factory=list)
    error: Json | None = None
    result: Json | None = None
    job: str | None = None
    owner: str | None = None


class Runs(Rows[Run]):
    """The table of runs."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, RUNS, Run, _missing)

    def list(
        self,
        *,
        state: str | None = None,
        q: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Run]:
        """Return runs, newest first; `q` is looked for in ids, names, models and methods."""
        where: Conditions = []
        if state is not None:
            where.append(RUNS.c.state == state)
        if q is not None and q.strip() != "":
            where.append(contains(q.strip(), RUNS.c.id, RUNS.c.name, RUNS.c.model, RUNS.c.method))
        return self.page(where, limit=limit, after=after)

    def at(self, out: str) -> Run | None:
        """Return the run that lies in a folder, or None."""
        with self.database.read() as connection:
            row = connection.execute(sa.select(RUNS).where(RUNS.c.out == out)).first()
        return None if row is None else self.make(row)

    def add_once(self, row: Run, connection: Connection) -> None:
        """Add a run, unless one with its id is there already."""
        insert = sqlite.insert if self.database.is_sqlite else postgresql.insert
        made = insert(RUNS).on_conflict_do_nothing(index_elements=["id"])
        connection.execute(made, [columns(row)])

    def metrics(
        self,
        run: str,
        keys: Sequence[str] | None = None,
        *,
        from_step: int = 0,
        to_step: int | None = None,
        points: int = 1000,
    ) -> Series:
        """Return series thinned to about `points` places. Raises: NotFound("no-run")."""
        found = metrics.read(
            self.database, run, keys, from_step=from_step, to_step=to_step, points=points
        )
        if not found.steps:
            self.get(run)
        return found

    def keys(self, run: str) -> Names:
        """Return the names of what is measured in a run."""
        return metrics.keys(self.database, run)

    def events_after(self, run: str, after: int = -1, limit: int = 1000) -> Told:
        """Return events whose number is above `after`, in order."""
        return events.read(self.database, run, after, limit)

    def events_before(self, run: str, before: int, limit: int = 1000) -> Told:
        """Return the last events whose number is below `before`, the newest first."""
        return events.newest(self.database, run, before, limit)

    def record(
        self,
        connection: Connection,
        run: str,
        *,
        told: Sequence[Stored] = (),
        points: Mapping[str, Sequence[Point]] | None = None,
        values: Mapping[str, Any] | None = None,  # Any: column values
    ) -> None:
        """Write what a worker told, in the caller's transaction."""
        events.append(connection, run, told)
        if points:
            metrics.append(connection, run, points)
        if values:
            connection.execute(sa.update(RUNS).where(RUNS.c.id == run).values(**values))

    def removing(self, row_id: str, connection: Connection) -> None:
        """Forget the events too; the measurements go with the row."""
        events.drop(connection, row_id)


def _missing(run: str) -> NotFound:
    return NotFound("no-run", f"there is no run {run!r}", hint="stead runs list")
