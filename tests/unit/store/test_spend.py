"""The ledger: nothing lost, nothing doubled, never in the way; sums that are exact."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from stead.core.errors import ResourceError, SteadError
from stead.core.shared import Ask, Limit, MemoryShared
from stead.inference.meter import Entry
from stead.messages import Attempt, Usage
from stead.store.db import Database
from stead.store.migrate import migrate, open_database
from stead.store.spend import Spend, SpendLedger

NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC


def entry(number=0, **more):
    attempt = Attempt(candidate="c", model="m", outcome="ok", usage=Usage(3, 2, 1), cost=7)
    fields = {
        "id": f"e{number}", "call": "call", "at": NOON + number, "key": "k", "strategy": "s", "model": "m",
        "served": "c", "kind": "generate", "streamed": False, "outcome": "ok", "usage": Usage(3, 2, 1),
        "cost": 7, "attempts": (attempt,), "tags": ("t",), "deviations": ("d",), "first_s": 0.5,
    }  # fmt: skip
    return Entry(**fields | more)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def place(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'stead.db'}"
    else:
        yield request.getfixturevalue("postgres")


@pytest.fixture
def database(place):
    made = Database(place)
    migrate(made)
    with made.write() as connection:
        connection.exec_driver_sql("DELETE FROM spend")
    yield made
    made.close()


def record(database, *entries):
    ledger = SpendLedger(database)
    for one in entries:
        ledger.record(one)
    ledger.close_now()


def test_an_entry_comes_back_as_it_was_and_only_once(database):
    record(database, entry(1), entry(1), entry(2, first_s=None, code="x"))
    record(database, entry(1))

    found = Spend(database).entries()

    assert found == [entry(2, first_s=None, code="x"), entry(1)]


def test_sums_by_day_key_and_model(database):
    big = 2**40
    record(
        database,
        entry(1, cost=big), entry(2, cost=big, key="other"), entry(3, model="n", outcome="failed", cost=1, unpriced=1),
        entry(4, at=NOON + 86_400, cached=True, cost=0),
    )  # fmt: skip
    spend = Spend(database)

    days = [(s.name, s.requests, s.cost) for s in spend.sums("day")]
    models = [(s.name, s.cost, s.failed, s.unpriced) for s in spend.sums("model")]
    assert days == [("2023-11-15", 3, 2 * big + 1), ("2023-11-16", 1, 0)]
    assert models == [("m", 2 * big, 0, 0), ("n", 1, 1, 1)]
    assert [s.name for s in spend.sums("key")] == ["k", "other"]
    assert [s.requests for s in spend.sums("key", since=NOON + 3, key="k")] == [2]
    assert spend.spent("k").cached == 1
    assert spend.spent("nobody").cost == 0


def test_a_budget_outlives_its_process(database):
    record(database, entry(1), entry(2), entry(3, at=NOON - 86_400), entry(4, key="other"))
    day = Limit("daily_budget", "money", 20, None, "key k", calendar="day")
    month = Limit("monthly_budget", "money", 30, None, "key k", calendar="month")
    spend = Spend(database, clock=lambda: NOON + 10)

    async def go():
        shared = MemoryShared(clock=lambda: NOON + 10, opening=spend.opening)
        with pytest.raises(SteadError):
            await shared.reserve([Ask(day, 7), Ask(month, 7)])
        await shared.reserve([Ask(day, 6), Ask(month, 6)])
        return await shared.used(day), await shared.used(month)

    assert asyncio.run(go()) == (20, 27)


def test_while_the_database_is_away_entries_wait_and_new_requests_are_refused(
    tmp_path, monkeypatch
):
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    migrate(database)
    away = [True]
    real = Database.transact

    def transact(self, work):
        if away[0]:
            raise ResourceError("database-unavailable", "away")
        return real(self, work)

    monkeypatch.setattr(Database, "transact", transact)
    ledger = SpendLedger(database, queue=10)
    began = time.monotonic()
    for i in range(30):
        ledger.record(entry(i))
    assert time.monotonic() - began < 0.5  # nothing waits
    end = time.monotonic() + 5
    while time.monotonic() < end:  # the first batch is being tried; ten more fill the queue
        for i in range(30, 50):
            ledger.record(entry(i))
        with contextlib.suppress(AssertionError), pytest.raises(ResourceError) as caught:
            ledger.ready()
        if "caught" in locals() and caught.value.code == "ledger-behind":
            break
    assert caught.value.details["status"] == 503
    away[0] = False
    ledger.close_now()
    assert len(Spend(database).entries()) == 50
    database.close()


def test_what_cannot_be_written_at_the_end_is_taken_up_by_the_next_start(tmp_path, monkeypatch):
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    migrate(database)
    error = ResourceError("database-unavailable", "away")

    def away(self, work):
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(Database, "transact", away)
        ledger = SpendLedger(database, tmp_path / "unsaved")
        ledger.record(entry(1))
        with pytest.raises(ResourceError, match="1 entries could not be written"):
            ledger.close_now(0.1)
    SpendLedger(database, tmp_path / "unsaved").close_now()

    assert Spend(database).entries() == [entry(1)]
    assert list((tmp_path / "unsaved").iterdir()) == []
    database.close()


SERVER = """
import asyncio, signal, sys
from stead.app.accounts import Accounts
from stead.core.paths import Home
from stead.inference.backends.echo import Echo
from stead.inference.meter import Meter
from stead.messages import GenerateRequest

async def main():
    accounts = Accounts.open(Home.find())
    backend, stop = Meter(Echo(), accounts.ledger), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    done = 0
    while not stop.is_set():
        await backend.generate(GenerateRequest(model="echo", prompt="a b"))
        done += 1
        await asyncio.sleep(0.0005)
        if done == 200:
            print("busy", flush=True)
    await backend.close()
    await accounts.close()
    print(done, flush=True)

asyncio.run(main())
"""


def test_a_stop_by_signal_loses_nothing(home):
    child = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert child.stdout.readline() == "busy\n"
    child.send_signal(signal.SIGTERM)
    done = int(child.communicate(timeout=30)[0])
    from stead.core.paths import Home

    database = open_database(Home(home))
    (found,) = Spend(database).sums("model")
    database.close()

    assert found.requests == done


def test_entries_are_plain_data():
    assert msgspec.json.decode(msgspec.json.encode([entry()]), type=list[Entry]) == [entry()]
