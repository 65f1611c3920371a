"""Back up, restore, inspect and migrate the store.

Knows nothing about what is in it; `store/backup` does the work.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stead.cli import console

if TYPE_CHECKING:
    from stead.store.db import Database

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]


@contextmanager
def _database() -> "Iterator[Database]":
    from stead.app.database import open_database
    from stead.core.paths import Home

    database = open_database(Home.find().ensure())
    try:
        yield database
    finally:
        database.close()


@app.command()
def backup(
    file: File,
    portable: Annotated[
        bool, typer.Option("--portable", help="JSON lines that go into SQLite and PostgreSQL.")
    ] = False,
    as_json: console.Json = False,
) -> None:
    """Write one consistent state of the store to a new file, while others go on writing."""
    from stead.store.backup import back_up

    with _database() as database:
        size = back_up(database, file, portable=portable)
    if as_json:
        console.out_json({"path": str(file), "bytes": size})
        return
    console.out(f"{file}  {size:,} bytes")


@app.command()
def restore(
    file: File,
    yes: Annotated[
        bool, typer.Option("--yes", help="Replace what is in the store now; required.")
    ] = False,
) -> None:
    """Make the store what a backup says; all that is in it now is replaced."""
    from stead.core.errors import ConfigError
    from stead.store.backup import restore as restore_from

    if not yes:
        raise ConfigError(
            "not-confirmed",
            "a restore replaces everything in the store; say so with --yes",
            hint="stead store backup before.db",
        )
    with _database() as database:
        restore_from(database, file)
    console.out(f"restored from {file}")


@app.command()
def status(as_json: console.Json = False) -> None:
    """Show where the store is, its version, its size and its rows."""
    from stead.store.status import facts

    with _database() as database:
        found = facts(database)
    if as_json:
        console.out_json(found)
        return
    for key, value in found.items():
        if key != "rows":
            console.out(f"{key:<12} {value}")
    for name, count in found["rows"].items():
        console.out(f"  {name:<14} {count:,}")


@app.command()
def migrate(as_json: console.Json = False) -> None:
    """Bring the tables to the newest form; every command that opens the store does so too."""
    from stead.store.tables import HEAD

    with _database():
        pass
    if as_json:
        console.out_json({"version": HEAD})
        return
    console.out(f"the store is at {HEAD}")
