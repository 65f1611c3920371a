"""Brings a database's tables to the newest form, in one transaction, one process at a time.

Knows nothing about what the tables hold; each step is a file in `migrations/versions`, run by alembic.
"""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from stead.core.errors import ResourceError
from stead.core.paths import Home
from stead.store.db import Database
from stead.store.tables import HEAD

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x57EAD  # PostgreSQL's advisory lock of whoever migrates


def current(connection: Connection) -> str | None:
    """Return the migration a database is at; None before the first."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def open_database(home: Home, url: str | None = None) -> Database:
    """Open the database of a data directory, or the one of `url`, and bring its tables up to date.

    `url` may be the path of a SQLite file.

    Raises: ConfigError("bad-database-url"); ResourceError("database-unavailable", "newer-database").
    """
    if url is None:
        made = Database(URL.create("sqlite", database=str(home.ensure().database)))
    elif ":" not in url:
        made = Database(URL.create("sqlite", database=str(Path(url).expanduser().absolute())))
    else:
        made = Database(url)
    try:
        migrate(made)
    except BaseException:
        made.close()
        raise
    return made


def migrate(database: Database, target: str = HEAD) -> None:
    """Bring the tables to `target`; killed anywhere, they are as before or as after.

    Raises: ResourceError("newer-database") when a later version of stead has made them.
    """
    with database.read() as connection:
        if current(connection) == target:
            return
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        upgrade(connection, target)


def upgrade(connection: Connection, target: str) -> None:
    """Do the steps that are missing, in the transaction of `connection`. Raises: as `migrate`."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    scripts = ScriptDirectory(str(_FOLDER))

    def steps(at: object, _: object) -> object:
        # What alembic's own `upgrade` command calls; there is no public name for it.
        return scripts._upgrade_revs(target, at)  # type: ignore[arg-type]

    options = {"fn": steps, "transactional_ddl": True, "script": scripts}
    context = MigrationContext.configure(connection=connection, opts=options)
    try:
        with Operations.context(context):
            context.run_migrations()
    except CommandError as error:
        raise ResourceError(
            "newer-database",
            f"the database is at {current(connection)!r}, which this version does not know",
            hint="pip install -U stead",
        ) from error
