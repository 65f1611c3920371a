"""Data sets that were brought in: where they lie, how they are read, what was found in them.

Knows nothing about reading them.
"""

from dataclasses import dataclass, field
from typing import Any

from stead.core.errors import NotFound
from stead.store.db import Database
from stead.store.rows import Json, Page, Rows, contains
from stead.store.tables import DATASETS


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set. `columns` says which column plays which role; `facts` is what was found."""

    id: str
    name: str
    path: str
    bytes: int
    created_at: float
    updated_at: float
    rows: int | None = None
    reader: str = "auto"
    format: str = "auto"
    kind: str | None = None
    columns: Any = field(default_factory=dict)  # Any: JSON, a mapping or a list of names
    facts: Json = field(default_factory=dict)
    hash: str = ""
    owner: str | None = None


class Datasets(Rows[Dataset]):
    """The table of data sets."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, DATASETS, Dataset, _missing)

    def list(
        self, *, q: str | None = None, limit: int = 50, after: str | None = None
    ) -> Page[Dataset]:
        """Return data sets, newest first."""
        where = [contains(q.strip(), DATASETS.c.name)] if q is not None and q.strip() != "" else []
        return self.page(where, limit=limit, after=after)


def _missing(name: str) -> NotFound:
    return NotFound("no-dataset", f"there is no data set {name!r}")
