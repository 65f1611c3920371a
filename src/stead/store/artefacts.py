"""Files that were made from models: exports and merged folders, with their hash and what they came from.

Knows nothing about formats. One job makes an artefact once: its id is the job's.
"""

from dataclasses import dataclass

from stead.core.errors import NotFound
from stead.store.db import Database
from stead.store.rows import Condition, Page, Rows
from stead.store.tables import ARTEFACTS


@dataclass(frozen=True, slots=True)
class Artefact:
    """One artefact."""

    id: str
    name: str
    format: str
    path: str
    bytes: int
    sha256: str
    created_at: float
    quant: str | None = None
    job: str | None = None
    run: str | None = None


class Artefacts(Rows[Artefact]):
    """The table of artefacts."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, ARTEFACTS, Artefact, _missing)

    def list(
        self, *, run: str | None = None, limit: int = 50, after: str | None = None
    ) -> Page[Artefact]:
        """Return artefacts, newest first."""
        where: tuple[Condition, ...] = () if run is None else (ARTEFACTS.c.run == run,)
        return self.page(where, limit=limit, after=after)


def _missing(name: str) -> NotFound:
    return NotFound("no-artefact", f"there is no artefact {name!r}")
