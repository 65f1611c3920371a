"""Backups of the store: SQLite's own, taken while others write; and JSON lines, which go into either database.

Knows nothing about what the tables hold. A backup is one state of the database, complete to the moment it
began; a restore is one transaction: killed anywhere, the database is as before or as the backup.
"""

import base64
import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stead.core import files
from stead.core.errors import ConfigError, NotFound
from stead.store.db import Database
from stead.store.migrate import current, migrate, upgrade
from stead.store.tables import HEAD, METADATA

_MAGIC = b"SQLite format 3\0"
_FORMAT = 1
_BATCH = 500
Line = dict[str, Any]  # Any: JSON values


def back_up(database: Database, path: Path, *, portable: bool = False) -> int:
    """Write a backup to `path`, atomically; return its size in bytes.

    SQLite's own format for SQLite; JSON lines for PostgreSQL and with `portable`.
    Raises: ConfigError("exists"); ResourceError("database-unavailable", "disk-full").
    """
    if path.exists():
        raise ConfigError("exists", f"{str(path)!r} exists already; a backup replaces nothing")
    if database.is_sqlite and not portable:
        _copy_out(database, path)
    else:
        with files.replacing(path, 0o600) as file:
            for line in lines(database):
                file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode())
                file.write(b"\n")
    return path.stat().st_size


def restore(database: Database, path: Path) -> None:
    """Make the database what the backup says; everything in it now is replaced.

    Raises: NotFound("no-file"); ConfigError("bad-backup") when the file is none or not whole;
    ResourceError("newer-database") when a later version of stead has made it.
    """
    try:
        with open(path, "rb") as file:
            is_sqlite = file.read(len(_MAGIC)) == _MAGIC
    except FileNotFoundError as error:
        raise NotFound("no-file", f"there is no file {str(path)!r}") from error
    if not is_sqlite:
        _read_in(database, path)
    elif database.is_sqlite:
        _copy_in(database, path)
    else:
        raise ConfigError(
            "bad-backup",
            f"{str(path)!r} is a backup in SQLite's own format, which goes into SQLite only; make a portable one",
            hint="stead store backup --portable store.jsonl",
        )
    migrate(database)


def _driver(connection: Connection) -> sqlite3.Connection:
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)  # noqa: S101 - SQLite's driver
    return found


def _copy_out(database: Database, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        with closing(sqlite3.connect(partial)) as target:
            with database.read() as connection:
                _driver(connection).backup(target)
            target.execute("PRAGMA journal_mode=DELETE").fetchall()  # one file, without a WAL
        partial.chmod(0o600)
        files.publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _copy_in(database: Database, path: Path) -> None:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
        try:
            found = source.execute("PRAGMA integrity_check").fetchone()[0]
            tables = {row[0] for row in source.execute("SELECT name FROM sqlite_master")}
        except sqlite3.DatabaseError as error:
            raise _bad(path, str(error)) from error
        if found != "ok" or "alembic_version" not in tables:
            raise _bad(path, "it is damaged" if found != "ok" else "it is no store of stead")
        database.replace(source)


def lines(database: Database) -> Iterator[Line]:
    """Yield the whole database as JSON values: a head, each row, an end with their number."""
    count = 0
    with database.read() as connection:
        yield {"stead_store": _FORMAT, "head": current(connection)}
        for table in METADATA.sorted_tables:
            order = list(table.primary_key.columns)
            query = sa.select(table).order_by(*order).execution_options(yield_per=_BATCH)
            for row in connection.execute(query):
                count += 1
                yield {"table": table.name, "row": [_out(value) for value in row]}
    yield {"rows": count}


def _out(value: Any) -> Any:  # Any: a column's value
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _in(value: Any, column: sa.Column[Any]) -> Any:
    is_bytes = isinstance(column.type, sa.LargeBinary) and value is not None
    return base64.b64decode(value["bytes"]) if is_bytes else value


def _read_in(database: Database, path: Path) -> None:
    with open(path, "rb") as file:
        found = _parsed(path, iter(file))
        head = next(found, {})
        if head.get("stead_store") != _FORMAT or not isinstance(head.get("head"), str):
            raise _bad(path, "it does not begin as one")
        with database.write() as connection:
            _defer(database, connection)
            former = sa.MetaData()
            former.reflect(connection)
            former.drop_all(connection)
            upgrade(connection, head["head"])
            tables = METADATA
            if head["head"] != HEAD:
                tables = sa.MetaData()
                tables.reflect(connection)
            _insert(path, connection, tables, found)
            if not database.is_sqlite:
                _set_sequences(connection, tables)


def _defer(database: Database, connection: Connection) -> None:
    """Let rows come before those they point at, until the end of the transaction."""
    if database.is_sqlite:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
    else:
        connection.exec_driver_sql("SET CONSTRAINTS ALL DEFERRED")


def _parsed(path: Path, raw: Iterator[bytes]) -> Iterator[Line]:
    for number, line in enumerate(raw, 1):
        try:
            found = json.loads(line)
        except ValueError as error:
            raise _bad(path, f"line {number} is no JSON") from error
        if not isinstance(found, dict):
            raise _bad(path, f"line {number} is no row")
        yield found


def _insert(path: Path, connection: Connection, tables: sa.MetaData, found: Iterator[Line]) -> None:
    count, end = 0, None
    while batch := list(islice(found, _BATCH)):
        rows: dict[str, list[Line]] = {}
        for line in batch:
            if "rows" in line:
                end = line["rows"]
                continue
            table = tables.tables.get(str(line.get("table")))
            if table is None or len(line.get("row", ())) != len(table.columns):
                raise _bad(path, f"there is no table {line.get('table')!r} of this form")
            columns = list(table.columns)
            row = {c.name: _in(v, c) for c, v in zip(columns, line["row"], strict=True)}
            rows.setdefault(table.name, []).append(row)
            count += 1
        for name, some in rows.items():
            connection.execute(sa.insert(tables.tables[name]), some)
    if end != count:
        raise _bad(path, f"it has {count} rows, not {end}")


def _set_sequences(connection: Connection, tables: sa.MetaData) -> None:
    for table in tables.sorted_tables:
        column = table.autoincrement_column
        if column is None or not table.name.isidentifier():
            continue
        newest = connection.execute(sa.select(sa.func.max(column))).scalar()
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        if newest is not None:
            connection.execute(sa.select(sa.func.setval(sequence, newest)))


def _bad(path: Path, why: str) -> ConfigError:
    return ConfigError("bad-backup", f"{str(path)!r} is no backup of a store: {why}")
