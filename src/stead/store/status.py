"""Facts about the store for people: where, which version, how large.

Knows nothing about what rows mean.
"""

from typing import Any

import sqlalchemy as sa

from stead.store.db import Database, shown, sqlite_version
from stead.store.migrate import current
from stead.store.tables import METADATA


def facts(database: Database) -> dict[str, Any]:  # Any: JSON values
    """Return address (without its password), kind and version of the database, journal, size, rows."""
    with database.read() as connection:
        version = connection.dialect.server_version_info
        rows = {
            table.name: int(
                connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            )
            for table in METADATA.sorted_tables
        }
        head = current(connection)
    engine = f"SQLite {sqlite_version()}"
    if not database.is_sqlite:
        engine = f"PostgreSQL {'.'.join(map(str, () if version is None else version))}"
    return {
        "url": shown(database.url), "engine": engine, "version": head,
        "journal": database.journal, "bytes": database.size_bytes, "rows": rows,
    }  # fmt: skip
