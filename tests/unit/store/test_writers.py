"""Writers killed and migrations broken off at every statement: nothing acknowledged is lost, nothing is half."""

import os
import subprocess
import sys
import time
from contextlib import closing

import pytest
import sqlalchemy as sa

from stead.store import tables
from stead.store.db import Database
from stead.store.migrate import current, migrate

WRITER = """
import sys
from stead.store.db import Database
from stead.store.job_states import Job
from stead.store.queue import Queue
queue = Queue(Database(sys.argv[1]))
for i in range(10**6):
    queue.submit(Job(f"{sys.argv[2]}-{i}", "run", "queued", "t", {}, "f", float(i)))
    print(i, flush=True)
"""


def test_eight_writers_that_are_killed_lose_no_acknowledged_row(stores):
    """JB3: and "database is locked" reaches nobody."""
    url = stores.database.url.render_as_string(hide_password=False)
    children = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, f"w{i}"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=dict(os.environ))
        for i in range(8)
    ]  # fmt: skip
    for child in children:
        child.stdout.readline()
    time.sleep(0.5)
    for child in children:
        child.kill()
    told = {}
    for i, child in enumerate(children):
        out, errors = child.communicate()
        lines = [x for x in out.splitlines() if x]
        told[f"w{i}"] = int(lines[-1]) if lines else 0
        assert errors == ""

    with stores.database.read() as connection:
        names = set(connection.execute(sa.select(tables.JOBS.c.id)).scalars())
        if stores.database.is_sqlite:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    for name, last in told.items():
        assert {f"{name}-{i}" for i in range(last + 1)} <= names


def test_a_migration_with_data_is_whole_or_not_at_all_wherever_it_ends(stores, monkeypatch):
    """JB8: broken off at each statement from the former version; then run again."""
    database = stores.database
    newer = [t for t in reversed(tables.METADATA.sorted_tables) if t.name not in ("users", "keys", "spend", "counters", "reservations", "audit")]  # fmt: skip
    with database.write() as connection:
        for table in newer:
            table.drop(connection)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v0001'")
        row = {"limit_id": "a", "slot": 0, "used": 7}
        connection.execute(sa.insert(tables.COUNTERS), [row])
    count, real = 0, sa.engine.Connection.execute
    limit = 0

    def counting(self, statement, *args, **options):
        nonlocal count
        is_ddl = isinstance(statement, sa.schema.ExecutableDDLElement)
        count += is_ddl
        if is_ddl and count == limit:
            raise KeyboardInterrupt
        return real(self, statement, *args, **options)

    monkeypatch.setattr(sa.engine.Connection, "execute", counting)
    for at in range(1, 100):
        limit, count = at, 0
        try:
            migrate(database)
        except KeyboardInterrupt:
            with database.read() as connection:
                assert current(connection) == "v0001"
                assert not sa.inspect(connection).has_table("jobs")
        else:
            break
    monkeypatch.undo()

    assert 30 < at < 100
    with database.read() as connection:
        assert current(connection) == tables.HEAD
        assert connection.execute(sa.select(tables.COUNTERS.c.used)).scalar() == 7
    assert stores.jobs.list().total == 0


@pytest.mark.parametrize("stores", ["postgres"], indirect=True)
def test_a_database_that_goes_away_is_a_503_and_comes_back(stores):
    """JB2: connections cut by the server."""
    from stead.core.errors import ResourceError

    stores.jobs.list()
    with stores.database.write() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'postgres'"
        )

    def cut(connection):
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(ResourceError) as caught:
        stores.database.transact(cut)
    assert (caught.value.code, caught.value.details["status"]) == ("database-unavailable", 503)
    assert stores.jobs.list().total == 0


@pytest.mark.parametrize("stores", ["postgres"], indirect=True)
def test_a_connection_that_died_while_it_lay_idle_is_replaced_unnoticed(stores):
    stores.jobs.list()
    time.sleep(1.1)  # used a moment ago, it would not be asked whether it lives
    with closing(Database(stores.database.url)) as other, other.write() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'postgres'"
        )

    assert stores.jobs.list().total == 0
