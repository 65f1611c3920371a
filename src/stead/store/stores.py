"""The tables of one database, opened together: one attribute per noun.

Knows nothing about settings or surfaces; whoever opens it closes it.
"""

from dataclasses import dataclass

from stead.core.closing import Closing
from stead.core.paths import Home
from stead.store.artefacts import Artefacts
from stead.store.chats import Chats
from stead.store.datasets import Datasets
from stead.store.db import Database
from stead.store.evaluations import Evaluations
from stead.store.migrate import open_database
from stead.store.models import Models
from stead.store.queue import Queue
from stead.store.runs import Runs
from stead.store.settings import SettingsHistory


@dataclass(frozen=True, slots=True)
class Stores(Closing):
    """Every noun's table. Threads may share it."""

    database: Database
    jobs: Queue
    runs: Runs
    models: Models
    datasets: Datasets
    evaluations: Evaluations
    artefacts: Artefacts
    chats: Chats
    settings: SettingsHistory

    @classmethod
    def of(cls, database: Database) -> "Stores":
        """Return the tables of an open database."""
        return cls(
            database, Queue(database), Runs(database), Models(database), Datasets(database),
            Evaluations(database), Artefacts(database), Chats(database), SettingsHistory(database),
        )  # fmt: skip

    @classmethod
    def open(cls, home: Home, url: str | None = None) -> "Stores":
        """Open the database of a data directory, or the one of `url`.

        Raises: ConfigError("bad-database-url"); ResourceError("database-unavailable", "newer-database").
        """
        return cls.of(open_database(home, url))

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        self.database.close()
