"""The ledger in the database: one row per request, written together by a thread beside the path; and its sums.

Knows nothing about requests or keys beyond their names. An entry has an id of its own, so writing it twice
changes nothing. What cannot be written at the end is left in a file and taken up by the next start.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection, Row

from stead.core import files
from stead.core.errors import ResourceError
from stead.core.shared import Limit
from stead.inference.meter import Entry, Ledger
from stead.messages import Attempt, Usage
from stead.store.background import Background
from stead.store.db import Database
from stead.store.tables import SPEND

_QUEUE = 10_000
_TOGETHER = 5_000  # entries in one statement
_PAUSE_S = 0.1  # as long as an entry may wait for others to be written with it
_DAY_S = 86_400
_JSON = msgspec.json.Encoder()
By = Literal["key", "model", "served", "strategy", "day", "outcome"]


class SpendLedger(Ledger):
    """Writes entries to `database` in groups; `record` costs the request a few microseconds.

    At most about `queue` entries wait; then new requests are refused until the database is back. A stop by
    signal closes the server, which closes this. `unsaved` is the folder for what could not be written.
    """

    def __init__(
        self, database: Database, unsaved: Path | None = None, *, queue: int = _QUEUE
    ) -> None:
        self._database = database
        self._unsaved = unsaved
        self._queue = queue
        self._closed = False
        self._background: Background[Entry] = Background(
            "stead-ledger",
            self._write,
            failed=lambda entries, _: entries,
            most=_TOGETHER,
            pause_s=_PAUSE_S,
        )
        if unsaved is not None:
            self._take_up(unsaved)

    def record(self, entry: Entry) -> None:
        """Take an entry; it is in the database a moment later."""
        self._background.put(entry)

    def ready(self) -> None:
        """Refuse while too many entries wait. Raises: ResourceError("ledger-behind")."""
        if self._background.waiting >= self._queue:
            raise ResourceError(
                "ledger-behind",
                f"{self._queue} requests wait to be written down; the database does not keep up",
                status=503,
                retry_after_s=1,
            )

    async def flush(self) -> None:
        """Return when what was recorded so far is written, or ten seconds have passed."""
        await asyncio.to_thread(self._background.flush)

    async def close(self) -> None:
        """Write what is left. Raises: ResourceError("ledger-unsaved") when only a file could take it, or nothing."""
        await asyncio.to_thread(self.close_now)

    def close_now(self, timeout_s: float = 10.0) -> None:
        """Do as `close`, for whoever has no event loop."""
        if self._closed:
            return
        self._closed = True
        left = self._background.close(timeout_s)
        if not left:
            return
        where = "lost"
        if self._unsaved is not None:
            path = self._unsaved / f"spend-{uuid.uuid4().hex}.json"
            files.write_bytes(path, msgspec.json.encode(left), 0o600)
            where = f"kept in {str(path)!r} until the next start"
        raise ResourceError(
            "ledger-unsaved", f"{len(left)} entries could not be written to the database: {where}"
        )

    def _take_up(self, folder: Path) -> None:
        for path in sorted(folder.glob("spend-*.json")):
            self._write(msgspec.json.decode(path.read_bytes(), type=list[Entry]))
            path.unlink()

    def _write(self, entries: list[Entry]) -> None:
        self._database.transact(lambda connection: self._insert(connection, entries))

    def _insert(self, connection: Connection, entries: list[Entry]) -> None:
        if self._database.is_sqlite:
            # One statement for all: the database takes the rows apart, without the interpreter's lock
            # that requests need at the same time. A tenth of what a statement per row costs them.
            connection.exec_driver_sql(_SQLITE, (_JSON.encode(entries).decode(),))
            return
        made = postgresql.insert(SPEND).on_conflict_do_nothing(index_elements=["id"])
        rows = [dict(zip(SPEND.c.keys(), _values(entry), strict=True)) for entry in entries]
        for row in rows:
            row |= {name: json.loads(row[name]) for name in ("attempts", "tags", "deviations")}
        connection.execute(made, rows)


_USAGE = frozenset(Usage.__struct_fields__)


def _sqlite_insert() -> str:
    """Return the statement that inserts a JSON array of entries; a known id is left as it is."""
    names = list(SPEND.c.keys())
    paths = [f"$.usage.{name}" if name in _USAGE else f"$.{name}" for name in names]
    taken = ", ".join(f"json_extract(value, '{path}')" for path in paths)
    rows = f"SELECT {taken} FROM json_each(?) WHERE true"  # noqa: S608 - our own column names
    return f"INSERT INTO spend ({', '.join(names)}) {rows} ON CONFLICT (id) DO NOTHING"


_SQLITE = _sqlite_insert()


def _values(entry: Entry) -> tuple[Any, ...]:  # Any: column values
    """Return a row in the order of the columns."""
    usage = entry.usage
    return (
        entry.id,
        entry.call,
        entry.at,
        entry.key,
        entry.strategy,
        entry.model,
        entry.served,
        entry.kind,
        entry.streamed,
        entry.outcome,
        entry.code,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        usage.cache_write_tokens,
        entry.cost,
        entry.unpriced,
        entry.estimated,
        entry.cached,
        entry.seconds,
        entry.first_s,
        _JSON.encode(entry.attempts).decode(),
        _JSON.encode(entry.tags).decode(),
        _JSON.encode(entry.deviations).decode(),
    )


@dataclass(frozen=True, slots=True)
class Sum:
    """What one key, model or day has used. `cost` in picodollars, without `unpriced` attempts."""

    name: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: int
    unpriced: int
    failed: int
    cached: int


class Spend:
    """Reads the ledger."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def sums(
        self,
        by: By,
        *,
        since: float | None = None,
        until: float | None = None,
        key: str | None = None,
    ) -> list[Sum]:
        """Add up by key, model, who served, strategy, day (UTC) or outcome; dearest first, days in order."""
        column = sa.cast(sa.func.floor(SPEND.c.at / _DAY_S), sa.BigInteger) if by == "day" else None
        group = SPEND.c[by] if column is None else column
        cost = sa.func.sum(SPEND.c.cost)
        query = sa.select(
            group,
            sa.func.count(),
            sa.func.sum(SPEND.c.prompt_tokens),
            sa.func.sum(SPEND.c.completion_tokens),
            cost,
            sa.func.sum(SPEND.c.unpriced),
            sa.func.count().filter(SPEND.c.outcome != "ok"),
            sa.func.count().filter(SPEND.c.cached.is_(True)),
        ).group_by(group)
        query = _between(query, since, until)
        if key is not None:
            query = query.where(SPEND.c.key == key)
        query = query.order_by(group) if by == "day" else query.order_by(cost.desc(), group)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [Sum(_name(by, row[0]), *(int(value) for value in row[1:])) for row in rows]

    def spent(self, key: str) -> Sum:
        """Return all that one key has used."""
        found = [s for s in self.sums("key", key=key) if s.name == key]
        return found[0] if found else Sum(key, 0, 0, 0, 0, 0, 0, 0)

    def entries(
        self, *, since: float | None = None, key: str | None = None, most: int = 100
    ) -> list[Entry]:
        """Return the newest entries, newest first."""
        query = _between(sa.select(SPEND), since, None)
        if key is not None:
            query = query.where(SPEND.c.key == key)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(SPEND.c.at.desc()).limit(most)).all()
        return [_entry(row) for row in rows]

    def used(self, limit: Limit) -> int:
        """Return what a limit has used by the ledger since its window began: for counters that start empty.

        Its scope says of whom: "key ID", "strategy NAME", "model NAME"; anything else means of all.
        """
        columns = {
            "money": sa.func.sum(SPEND.c.cost),
            "tokens": sa.func.sum(SPEND.c.prompt_tokens + SPEND.c.completion_tokens),
            "requests": sa.func.count(),
        }
        if limit.kind not in columns:
            return 0
        since = limit.begin(limit.first(self._clock()))
        query = _between(sa.select(columns[limit.kind]), since, None)
        of, _, name = limit.scope.replace(" ", ":", 1).partition(":")
        if of in ("key", "strategy", "model"):
            query = query.where(SPEND.c[of] == name)
        with self._database.read() as connection:
            found = connection.execute(query).scalar()
        return 0 if found is None else int(found)

    async def opening(self, limit: Limit) -> int:
        """Do as `used`, in a thread: what `MemoryShared` asks when it first meets a limit."""
        return await asyncio.to_thread(self.used, limit)


def _between(query: Any, since: float | None, until: float | None) -> Any:  # Any: any Select
    if since is not None:
        query = query.where(SPEND.c.at >= since)
    return query if until is None else query.where(SPEND.c.at < until)


def _name(by: By, value: object) -> str:
    if by != "day":
        return str(value)
    return time.strftime("%Y-%m-%d", time.gmtime(int(str(value)) * _DAY_S))


def _entry(row: Row[Any]) -> Entry:  # Any: column values
    found = dict(row._mapping)
    usage = Usage(**{name: int(found.pop(name)) for name in _USAGE & found.keys()})
    attempts: Sequence[Attempt] = msgspec.convert(found.pop("attempts"), tuple[Attempt, ...])
    tags, deviations = tuple(found.pop("tags")), tuple(found.pop("deviations"))
    return Entry(usage=usage, attempts=tuple(attempts), tags=tags, deviations=deviations, **found)
