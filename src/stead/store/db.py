"""The database: SQLite by default, PostgreSQL by URL; the only door to SQLAlchemy's engine.

Knows nothing about what is stored. SQLite: WAL under one writer (`writer_lock`), every write transaction and
every checkpoint inside that lock, explicit BEGIN IMMEDIATE, synchronous FULL, foreign keys on; where the file
system cannot lock, a rollback journal instead of WAL. Do not open, copy or hash the file by other means, and
do not carry a `Database` over a fork.
"""

import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from stead.core.errors import ConfigError, ResourceError
from stead.store.writer_lock import WriterLock

T = TypeVar("T")
_POOL: dict[str, int] = {"pool_size": 10, "max_overflow": 20, "pool_recycle": 3600}  # seconds
_BUSY_S = 30.0
_IDLE_S = 1.0  # a restart of PostgreSQL takes longer
_WAL_LIMIT_BYTES = 4 << 20  # then the next writer moves it into the database
_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA wal_autocheckpoint=0",
    "PRAGMA mmap_size=0",
    f"PRAGMA journal_size_limit={_WAL_LIMIT_BYTES}",  # else a WAL once grown stays so, and every commit moves it
)
_JOURNALS = {"wal": "PRAGMA journal_mode=wal", "truncate": "PRAGMA journal_mode=truncate"}
_LOCK_TIMEOUT_MS = 10_000
_READING: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_OPTIONS = frozenset({"sslmode", "sslrootcert", "connect_timeout", "application_name"})
_AGAIN = frozenset({"40001", "40P01"})  # serialization failure, deadlock: certainly rolled back
_ATTEMPTS = 5


class Database:
    """An open database; threads may share it.

    `journal` is "wal" or "truncate" (SQLite), or "" (PostgreSQL).
    Raises: ConfigError("bad-database-url"); ResourceError("database-unavailable").
    """

    def __init__(self, url: str | URL) -> None:
        self.url = _checked(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._lock: WriterLock | None = None
        self._path: Path | None = None
        self._mine = threading.local()  # whether this thread is inside `write`
        self.journal = ""
        if self.is_sqlite:
            self._path = Path(str(self.url.database)).absolute()
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = WriterLock(self._path.with_name(self._path.name + ".lock"))
            self.journal = "wal" if self._lock.works() else "truncate"
            self.engine = _sqlite(self._path, self.journal)
        else:
            self.engine = _postgres(self.url)
        self._reader = self.engine if self.is_sqlite else self.engine.execution_options(**_READING)
        # At the interpreter's end too: the last connection to close makes a checkpoint.
        self._end = weakref.finalize(self, _dispose, self.engine, self._lock)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state and changes nothing. Keep it short: readers keep the WAL.

        Raises: ResourceError("database-unavailable").
        """
        with _translated(self.url), self._reader.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that commits at the end of the block, and not when the block raises.

        Raises: ResourceError("database-busy", "database-unavailable").
        """
        if self._lock is None:
            with _translated(self.url), self.engine.begin() as connection:
                yield connection
            return
        if getattr(self._mine, "writing", False):
            raise RuntimeError("a write transaction inside another one")
        with self._lock.held(), _translated(self.url):
            self._mine.writing = True
            try:
                with self.engine.connect() as connection:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    yield connection
                    connection.commit()
                    self._checkpoint(connection)
            finally:
                self._mine.writing = False

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a write transaction; again when the database rolled it back for others' sake."""
        for _ in range(_ATTEMPTS - 1):
            try:
                with self.write() as connection:
                    return work(connection)
            except ResourceError as error:
                if error.details.get("sqlstate") not in _AGAIN:
                    raise
        with self.write() as connection:
            return work(connection)

    def clock(self, clock: Callable[[], float]) -> sa.ColumnElement[float]:
        """Return `now` as a part of statements, read anew whenever one is executed."""
        if self.is_sqlite:
            return sa.bindparam(None, callable_=clock, type_=sa.Double())
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double())

    def now(self, connection: Connection, clock: Callable[[], float]) -> float:
        """Return the Unix time that all processes share: PostgreSQL's own; on one machine, `clock`."""
        if self.is_sqlite:
            return clock()
        found = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())")
        return float(found.scalar_one())

    def replace(self, source: sqlite3.Connection) -> None:
        """Make this SQLite database a copy of another one, in one step, as the only writer."""
        assert self._lock is not None  # noqa: S101 - SQLite only
        with self._lock.held(), _translated(self.url), self.engine.connect() as connection:
            target = connection.connection.driver_connection
            assert isinstance(target, sqlite3.Connection)  # noqa: S101 - SQLite's driver
            try:
                source.backup(target)
            except sqlite3.Error as error:
                raise OperationalError("backup", None, error) from error
            target.execute(_JOURNALS[self.journal]).fetchall()

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        self._end()

    @property
    def size_bytes(self) -> int:
        """The size of a SQLite database with its WAL; 0 for PostgreSQL."""
        if self._path is None:
            return 0
        return sum(p.stat().st_size for p in (self._path, _wal(self._path)) if p.exists())

    def _checkpoint(self, connection: Connection) -> None:
        if self.journal != "wal" or self._path is None:
            return
        wal = _wal(self._path)
        if wal.exists() and wal.stat().st_size > _WAL_LIMIT_BYTES:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _dispose(engine: Engine, lock: WriterLock | None) -> None:
    if lock is None:
        engine.dispose()
        return
    with lock.held():
        engine.dispose()


def _checked(url: str | URL) -> URL:
    """Parse an address and refuse what it should not say: other databases, other options."""
    given = url if isinstance(url, str) else url.render_as_string()
    try:
        found = make_url(url)
    except ArgumentError as error:
        raise _bad_url("it is no database address") from error
    kind = found.get_backend_name()
    if kind == "sqlite" and (found.query or not found.database or found.host):
        raise _bad_url("SQLite takes a path and nothing else")
    if kind == "sqlite":
        return found.set(drivername="sqlite+pysqlite")
    if kind != "postgresql":
        raise _bad_url(f"{given.partition(':')[0][:20]!r} is neither sqlite nor postgresql")
    strange = sorted(set(found.query) - _OPTIONS)
    if strange:
        raise _bad_url(f"the option {strange[0]!r} is not allowed ({', '.join(sorted(_OPTIONS))})")
    return found.set(drivername="postgresql+psycopg")


def _bad_url(why: str) -> ConfigError:
    return ConfigError(
        "bad-database-url", f"{why}; write sqlite:///path or postgresql://user@host/name"
    )


def _sqlite(path: Path, journal: str) -> Engine:
    with suppress(OSError):  # whatever keeps it from being made is told at the first connection
        path.touch(0o600)  # the files beside it get the same mode, whatever the umask
    engine = sa.create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        connect_args={"timeout": _BUSY_S, "check_same_thread": False},
        poolclass=sa.pool.QueuePool,
        **_POOL,
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        for pragma in (*_PRAGMAS, _JOURNALS[journal]):
            connection.execute(pragma).fetchall()
        if connection.execute("PRAGMA foreign_keys").fetchone() != (1,):
            raise sqlite3.OperationalError("this SQLite has no foreign keys")

    return engine


def _postgres(url: URL) -> Engine:
    try:
        engine = sa.create_engine(
            url,
            connect_args={"options": f"-c lock_timeout={_LOCK_TIMEOUT_MS} -c timezone=UTC"},
            **_POOL,
        )
    except ModuleNotFoundError as error:
        from stead.core.lazy import load

        load("psycopg", extra="postgres")
        raise ConfigError("bad-database-url", f"no driver for {url.drivername!r}") from error
    _ask_idle_ones(engine)
    return engine


def _ask_idle_ones(engine: Engine) -> None:
    """Ask a connection that lay idle whether it lives; SQLAlchemy's own way asks before each use, a trip more."""
    driver: Any = engine.dialect.loaded_dbapi  # Any: a driver's module

    def used(_: object, record: Any) -> None:  # Any: SQLAlchemy's record of a connection
        if record is not None:
            record.info["used"] = time.monotonic()

    def ask(connection: Any, record: Any, _: object) -> None:  # Any: as above
        if time.monotonic() - record.info["used"] < _IDLE_S:
            return
        try:
            connection.execute("SELECT 1")
            connection.rollback()
        except driver.OperationalError as error:
            raise sa.exc.InvalidatePoolError from error  # all are made anew

    sa.event.listen(engine, "connect", used)
    sa.event.listen(engine, "checkin", used)
    sa.event.listen(engine, "checkout", ask)


def shown(url: URL) -> str:
    """Return an address as a person would write it, its password hidden."""
    return url.set(drivername=url.get_backend_name()).render_as_string()


@contextmanager
def _translated(url: URL) -> Iterator[None]:
    """Turn what the database's library raises into our error; broken rules of a table stay as they are."""
    try:
        yield
    except (OperationalError, sa.exc.TimeoutError, sa.exc.InternalError) as error:
        original: Any = (
            error.orig if isinstance(error, DBAPIError) else error
        )  # Any: driver's error
        raise ResourceError(
            "database-unavailable",
            f"the database {shown(url)!r} failed: {str(original).splitlines()[0]}",
            status=503,
            retry_after_s=1,
            sqlstate=getattr(original, "sqlstate", None),
        ) from error


def sqlite_version() -> str:
    """Return the version of the SQLite library in use."""
    return sqlite3.sqlite_version
