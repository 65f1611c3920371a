"""The database: one writer, safe settings, addresses that say no more than they should, whole migrations."""

import os
import sqlite3
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa

from stead.core.errors import ConfigError, ResourceError
from stead.core.paths import Home
from stead.store import migrate as migration
from stead.store.db import Database
from stead.store.migrate import current, migrate, open_database
from stead.store.tables import COUNTERS, HEAD, KEYS, METADATA
from stead.store.writer_lock import WriterLock


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path / 'stead.db'}")
    else:
        made = Database(request.getfixturevalue("postgres"))
        with made.write() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    yield made
    made.close()


def counter(name, used=1):
    return {"limit_id": name, "slot": 0, "used": used}


def count(database):
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(COUNTERS)).scalar_one()


@pytest.mark.spec("002-026")
def test_the_newest_migration_makes_the_tables_of_the_code(database):
    migrate(database)
    migrate(database)

    with database.read() as connection:
        assert current(connection) == HEAD
        found = sa.MetaData()
        found.reflect(connection)
    for name, table in METADATA.tables.items():
        made = found.tables[name]
        assert {c.name: c.nullable for c in made.c} == {c.name: c.nullable for c in table.c}
        assert {i.name for i in made.indexes} == {i.name for i in table.indexes}
        assert made.primary_key.columns.keys() == table.primary_key.columns.keys()
        assert len(made.foreign_keys) == len(table.foreign_keys)


def test_a_migration_that_is_broken_off_leaves_nothing(database, monkeypatch):
    from alembic.operations import Operations

    made, real = [], Operations.create_table

    def dying(self, *arguments, **options):
        made.append(arguments[0])
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    monkeypatch.setattr(Operations, "create_table", dying)
    with pytest.raises(KeyboardInterrupt):
        migrate(database)
    with database.read() as connection:
        assert sa.inspect(connection).get_table_names() == []
    monkeypatch.undo()
    migrate(database)
    assert count(database) == 0


def test_a_database_of_a_later_version_is_refused(database):
    migrate(database)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v9999'")
    with pytest.raises(ResourceError) as caught:
        migrate(database)
    assert caught.value.code == "newer-database"


@pytest.mark.spec("002-032")
def test_a_block_that_raises_writes_nothing(database):
    migrate(database)

    def fails(connection):
        connection.execute(sa.insert(COUNTERS), [counter("a")])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.transact(fails)
    assert count(database) == 0
    with database.write() as connection:
        connection.execute(sa.insert(COUNTERS), [counter("a")])
    assert count(database) == 1


def test_threads_write_one_after_the_other(database):
    migrate(database)
    with database.write() as connection:
        connection.execute(sa.insert(COUNTERS), [counter("a", 0)])

    def work(connection):
        used = connection.execute(sa.select(COUNTERS.c.used).with_for_update()).scalar_one()
        connection.execute(sa.update(COUNTERS).values(used=used + 1))

    def run():
        for _ in range(10):
            database.transact(work)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with database.read() as connection:
        assert connection.execute(sa.select(COUNTERS.c.used)).scalar_one() == 40


def test_sqlite_is_set_as_the_traps_demand(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    wanted = {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "wal_autocheckpoint": 0, "mmap_size": 0,
    }  # fmt: skip
    with database.read() as connection:
        found = {n: connection.exec_driver_sql(f"PRAGMA {n}").scalar() for n in wanted}
    database.close()

    assert (database.journal, found) == ("wal", wanted)


def test_without_a_lock_that_works_there_is_no_wal(tmp_path, monkeypatch):
    monkeypatch.setattr(WriterLock, "works", lambda self: False)
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    migrate(database)
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "truncate"
    database.close()


def test_the_wal_is_moved_into_the_database_by_writers(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    migrate(database)
    sizes = []
    for i in range(14):
        with database.write() as connection:
            rows = [counter(f"{i}-{k}" + "x" * 900) for k in range(500)]
            connection.execute(sa.insert(COUNTERS), rows)
        sizes.append((tmp_path / "a.db-wal").stat().st_size)
    database.close()

    assert max(sizes) < 8 << 20
    assert not (tmp_path / "a.db-wal").exists()  # closed inside the lock


def test_a_wal_that_has_grown_once_is_not_moved_at_every_commit(tmp_path, monkeypatch):
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    migrate(database)
    moved = []
    plain = Database._checkpoint

    def counted(self, connection):
        moved.append((tmp_path / "a.db-wal").stat().st_size > 4 << 20)
        plain(self, connection)

    with database.write() as connection:
        rows = [counter(f"{k}" + "x" * 900) for k in range(6000)]
        connection.execute(sa.insert(COUNTERS), rows)
    monkeypatch.setattr(Database, "_checkpoint", counted)
    for i in range(20):
        with database.write() as connection:
            connection.execute(sa.insert(COUNTERS), [counter(f"small-{i}")])
    database.close()

    assert sum(moved) <= 1


def test_a_broken_reference_is_refused(database):
    migrate(database)
    row = {"id": "k", "name": "n", "hash": "h", "created_at": 1.0, "user_id": "nobody"}
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(sa.insert(KEYS), [row])


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://", "sqlite:///a.db?mode=memory&uri=true", "sqlite://host/a", "mysql://a/b", "nonsense",
        "postgresql://h/d?options=-c%20x", "postgresql://h/d?service=x", "postgresql+psycopg://h/d?sslkey=/etc/passwd",
    ],
)  # fmt: skip
def test_an_address_that_says_too_much_is_refused(url):
    with pytest.raises(ConfigError) as caught:
        Database(url)
    assert caught.value.code == "bad-database-url"


def test_a_database_that_is_away_is_a_typed_error_without_its_password():
    database = Database("postgresql://u:hunter2hunter2@127.0.0.1:9/d?connect_timeout=2")
    with pytest.raises(ResourceError) as caught, database.read():
        pass
    database.close()

    assert (caught.value.code, caught.value.details["status"]) == ("database-unavailable", 503)
    assert "hunter2" not in str(caught.value)


WRITER = """
import sys
import sqlalchemy as sa
from stead.store.db import Database
from stead.store.tables import COUNTERS
database = Database("sqlite:///" + sys.argv[1])
for i in range(10**6):
    with database.write() as connection:
        connection.execute(sa.insert(COUNTERS), [{"limit_id": sys.argv[2], "slot": i, "used": 1}])
    print(i, flush=True)
"""


def test_writers_that_are_killed_lose_nothing_they_were_told_is_written(tmp_path):
    path = tmp_path / "stead.db"
    migrate(database := Database(f"sqlite:///{path}"))
    written = {}
    for round_ in range(2):
        names = [f"{round_}-{i}" for i in range(2)]
        children = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(path), name],
                stdout=subprocess.PIPE, text=True, env=os.environ,
            )
            for name in names
        ]  # fmt: skip
        for child, name in zip(children, names, strict=True):
            for _ in range(5):
                written[name] = int(child.stdout.readline())
        for child in children:
            child.kill()
        for child, name in zip(children, names, strict=True):
            rest = child.communicate()[0].splitlines()
            written[name] = max([written[name], *(int(line) for line in rest if line)])
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        query = sa.select(COUNTERS.c.limit_id, sa.func.max(COUNTERS.c.slot)).group_by(
            COUNTERS.c.limit_id
        )
        found = dict(connection.execute(query).all())
    database.close()

    assert all(found[name] >= last for name, last in written.items())


def test_the_file_is_readable_by_its_owner_only(tmp_path):
    home = Home(tmp_path / "home")
    open_database(home).close()

    assert (tmp_path / "home").stat().st_mode & 0o077 == 0
    assert sqlite3.connect(home.database).execute("SELECT count(*) FROM keys").fetchone() == (0,)


def test_a_migration_runs_without_the_migrations_tool_when_there_is_nothing_to_do(
    database, monkeypatch
):
    migrate(database)
    monkeypatch.setattr(migration, "upgrade", None)
    migrate(database)


@pytest.mark.spec("002-054")
def test_the_pool_has_the_documented_size(tmp_path):
    for url in (f"sqlite:///{tmp_path / 'a.db'}", "postgresql://u@127.0.0.1:9/d"):
        database = Database(url)
        pool = database.engine.pool
        assert (pool.size(), pool._max_overflow, pool._recycle) == (10, 20, 3600)
        database.close()
