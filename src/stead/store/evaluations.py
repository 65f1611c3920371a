"""Evaluations that were made: what was measured on what, the report's summary, where the report lies.

Knows nothing about scores.
"""

from dataclasses import dataclass, field

from stead.core.errors import NotFound
from stead.store.db import Database
from stead.store.rows import Conditions, Json, Page, Rows, contains
from stead.store.tables import EVALUATIONS


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation; `summary` is the report without its rows, None while it is being made."""

    id: str
    title: str
    data: str
    path: str
    created_at: float
    models: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    summary: Json | None = None
    job: str | None = None
    run: str | None = None
    owner: str | None = None


class Evaluations(Rows[Evaluation]):
    """The table of evaluations."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, EVALUATIONS, Evaluation, _missing)

    def list(
        self,
        *,
        run: str | None = None,
        q: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Evaluation]:
        """Return evaluations, newest first."""
        where: Conditions = []
        if run is not None:
            where.append(EVALUATIONS.c.run == run)
        if q is not None and q.strip() != "":
            where.append(contains(q.strip(), EVALUATIONS.c.title, EVALUATIONS.c.data))
        return self.page(where, limit=limit, after=after)


def _missing(name: str) -> NotFound:
    return NotFound("no-evaluation", f"there is no evaluation {name!r}")
