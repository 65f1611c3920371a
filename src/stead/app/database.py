"""Opens the store that the settings name.

Knows nothing about what is in it.
"""

from stead.config.settings import read_settings
from stead.core.paths import Home
from stead.store import migrate
from stead.store.db import Database
from stead.store.stores import Stores


def open_database(home: Home) -> Database:
    """Open the database of `database_url`, or the data directory's own, with its tables up to date.

    Raises: ConfigError("bad-database-url"); ResourceError("database-unavailable", "newer-database").
    """
    return migrate.open_database(home, read_settings(home).value.database_url)


def open_stores(home: Home) -> Stores:
    """Open every table of that database. Raises: as `open_database`."""
    return Stores.of(open_database(home))
