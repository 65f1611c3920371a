"""Backups: complete to a point in time while others write, whole or refused, and equal in both databases."""

import threading

import pytest
import sqlalchemy as sa

from stead.core.errors import ConfigError, NotFound
from stead.store import backup
from stead.store.chats import Chat, Message
from stead.store.db import Database
from stead.store.job_states import Ending, Job
from stead.store.migrate import migrate
from stead.store.runs import Run
from stead.store.status import facts
from stead.store.stores import Stores
from stead.store.tables import COUNTERS


def fill(stores):
    stores.runs.add(
        Run("r", "n", "queued", "sft", "lora", "m", "d", "/o", 1.0, tags=["π"], job="j")
    )
    stores.jobs.submit(Job("j", "run", "queued", "t", {"a": [1, None]}, "f", 1.0, run="r"))
    stores.jobs.end(stores.jobs.claim("s", 10), Ending("failed", error={"code": "x"}))
    stores.database.transact(
        lambda c: stores.runs.record(c, "r", points={"loss": [(i, i / 4) for i in range(700)]})
    )
    stores.chats.add(Chat("c", "t", 1.0, 1.0))
    stores.chats.say(Message("z", "c", None, "user", "first", 1.0))
    stores.chats.say(Message("a", "c", "z", "user", "child with an earlier id", 1.0))
    stores.settings.add("ada", "k", None, {"value": 0})
    stores.models.register("m", hash="h", path="/m", bytes=1, source="s")


def content(database):
    return list(backup.lines(database))


@pytest.mark.parametrize("portable", [False, True])
def test_a_restored_store_is_the_one_that_was_backed_up(stores, tmp_path, portable):
    fill(stores)
    before = content(stores.database)
    file = tmp_path / "backup"
    assert backup.back_up(stores.database, file, portable=portable) == file.stat().st_size
    stores.chats.remove("c")
    stores.settings.add("eve", "k", None, None)

    backup.restore(stores.database, file)

    assert content(stores.database) == before
    assert file.stat().st_mode & 0o077 == 0
    assert stores.settings.add("ada", "k", None, None).version == 2  # numbers go on
    with pytest.raises(ConfigError, match="replaces nothing"):
        backup.back_up(stores.database, file)


@pytest.mark.spec("002-065")
@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
def test_a_store_moves_to_postgres_and_is_the_same_there(stores, tmp_path, postgres):
    """JB8: the dump of one database is the dump of the other."""
    fill(stores)
    backup.back_up(stores.database, tmp_path / "moved.jsonl", portable=True)
    there = Database(postgres)
    backup.restore(there, tmp_path / "moved.jsonl")
    found = content(there)
    own = tmp_path / "own.db"
    backup.back_up(stores.database, own)
    with pytest.raises(ConfigError, match="portable"):
        backup.restore(there, own)
    there.close()

    assert found == content(stores.database)


def test_what_is_no_whole_backup_is_refused_and_changes_nothing(stores, tmp_path):
    fill(stores)
    before = content(stores.database)
    good = tmp_path / "good"
    backup.back_up(stores.database, good, portable=True)
    text = good.read_bytes().splitlines(keepends=True)
    for number, bad in enumerate((
        b"", b"nonsense", b"SQLite format 3\0" + b"x" * 5000, b"".join(text[:-1]), b"".join(text[:-2] + text[-1:]),
        b"".join(text[1:]), text[0] + b'{"table": "none", "row": []}\n',
    )):  # fmt: skip
        file = tmp_path / f"bad{number}"
        file.write_bytes(bad)
        with pytest.raises(ConfigError) as caught:
            backup.restore(stores.database, file)
        assert caught.value.code == "bad-backup"
    with pytest.raises(NotFound):
        backup.restore(stores.database, tmp_path / "none")
    assert content(stores.database) == before


def test_a_backup_under_load_is_one_state(stores, tmp_path):
    """JB10: two rows that always change together are equal in every backup."""
    database, stop = stores.database, threading.Event()
    rows = [{"limit_id": name, "slot": 0, "used": 0} for name in "ab"]
    database.transact(lambda c: c.execute(sa.insert(COUNTERS), rows))

    def write():
        while not stop.is_set():
            database.transact(
                lambda c: c.execute(sa.update(COUNTERS).values(used=COUNTERS.c.used + 1))
            )

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for i in range(3):
            backup.back_up(database, tmp_path / f"b{i}", portable=i == 2)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    seen = []
    for i in range(3):
        other = database if i < 0 else Database(f"sqlite:///{tmp_path / f'restored{i}.db'}")
        migrate(other)
        backup.restore(other, tmp_path / f"b{i}")
        used = {r["row"][2] for r in content(other) if r.get("table") == "counters"}
        assert len(used) == 1
        seen += used
        other.close()

    assert seen == sorted(seen)


@pytest.mark.spec("001-059")
def test_status_counts_rows_and_hides_passwords(stores):
    fill(stores)
    found = facts(stores.database)

    assert found["rows"]["messages"] == 2
    assert found["version"] == "v0002"
    assert Stores.of(stores.database).jobs.unfinished() == 0
