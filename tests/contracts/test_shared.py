"""Every `Shared` keeps the same promises: memory, SQLite, PostgreSQL and Redis against one model."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.databases import postgres_url, redis_url

from stead.core.errors import BudgetExceeded, RateLimited
from stead.core.shared import SLICES, Ask, Limit, MemoryShared
from stead.store.db import Database
from stead.store.migrate import migrate
from stead.store.shared_sql import SharedSQL

KINDS = ("memory", "sqlite", "postgres", "redis")
HOLD_S = 100.0
NOON = 1_700_000_000.0


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """Return where a kind of Shared keeps its counters."""
    with contextlib.ExitStack() as stack:
        made = {}

        def of(kind):
            if kind not in made:
                if kind == "postgres":
                    made[kind] = stack.enter_context(postgres_url(tmp_path_factory.mktemp("pg")))
                elif kind == "redis":
                    made[kind] = stack.enter_context(redis_url(tmp_path_factory.mktemp("redis")))
                else:
                    made[kind] = f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'stead.db'}"
            return made[kind]

        yield of


@contextlib.asynccontextmanager
async def shared_of(kind, where, clock=None, hold_s=HOLD_S):
    if kind == "memory":
        yield MemoryShared(hold_s=hold_s, clock=time.time if clock is None else clock)
    elif kind == "redis":
        from stead.store.shared_redis import SharedRedis

        made = SharedRedis(where, hold_s=hold_s, clock=clock)
        try:
            yield made
        finally:
            await made.close()
    else:
        database = Database(where)
        if clock is not None:
            database.now = lambda connection, _: clock()
        migrate(database)
        made = SharedSQL(database, hold_s=hold_s, clock=time.time if clock is None else clock)
        try:
            yield made
        finally:
            await made.close()
            database.close()


_NAMES = iter(range(10**9))


def fresh(name, kind, amount, **more):
    """A limit with a counter of its own: the places are shared among the tests."""
    return Limit(name, kind, amount, scope=f"test:{next(_NAMES)}", **more)


@pytest.mark.parametrize("kind", KINDS)
def test_all_or_none_and_exactly_as_much_as_allowed(kind, place):
    async def go():
        async with shared_of(kind, place(kind), Clock()) as shared:
            wide, narrow = (
                fresh("wide", "requests", 10, window_s=60.0),
                fresh("at once", "concurrency", 3),
            )
            asks = [Ask(wide, 1), Ask(narrow, 1)]
            held = [await shared.reserve(asks) for _ in range(3)]
            with pytest.raises(RateLimited) as caught:
                await shared.reserve(asks)
            assert caught.value.code == "too-many-at-once"
            assert caught.value.details["limit"] == "at once"
            assert [await shared.used(wide), await shared.used(narrow)] == [3, 3]
            for one in held:
                shared.settle(one, {"requests": 1})
            assert [await shared.used(wide), await shared.used(narrow)] == [3, 0]
            shared.release(await shared.reserve(asks))
            assert [await shared.used(wide), await shared.used(narrow)] == [3, 0]

    asyncio.run(go())


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_as_long_as_told_is_let_in_and_not_before(kind, place):
    async def go():
        clock = Clock()
        async with shared_of(kind, place(kind), clock) as shared:
            limit = fresh("rpm", "requests", 2, window_s=60.0)
            await shared.reserve([Ask(limit, 1)])
            clock.now += 20
            await shared.reserve([Ask(limit, 1)])
            with pytest.raises(RateLimited) as caught:
                await shared.reserve([Ask(limit, 1)])
            wait_s = caught.value.details["retry_after_s"]
            assert 40 <= wait_s <= 40 + 60 / SLICES + 0.01
            clock.now += 39.9  # the first was taken less than a minute ago
            with pytest.raises(RateLimited):
                await shared.reserve([Ask(limit, 1)])
            clock.now += wait_s - 39.9
            await shared.reserve([Ask(limit, 1)])

    asyncio.run(go())


@pytest.mark.parametrize("kind", KINDS)
def test_budgets_begin_anew_at_midnight_and_on_the_first(kind, place):
    async def go():
        clock = Clock(1_709_164_800.0 - 1)  # 2024-02-28 23:59:59 UTC
        async with shared_of(kind, place(kind), clock) as shared:
            big = 3 * 10**15 + 7  # three thousand dollars: more digits than a double's text has
            day = fresh("daily", "money", big, calendar="day")
            month = fresh("monthly", "money", 2 * big, calendar="month")
            asks = [Ask(day, big), Ask(month, big)]
            shared.settle(await shared.reserve(asks), {"money": big - 1})
            with pytest.raises(BudgetExceeded) as caught:
                await shared.reserve(asks)
            assert caught.value.details["retry_after_s"] == pytest.approx(1, abs=0.01)
            clock.now += 1.01
            shared.settle(await shared.reserve([Ask(day, big)]), {"money": 5})
            assert [await shared.used(day), await shared.used(month)] == [5, big - 1]
            clock.now = 1_709_251_200.0 - 0.5  # the 29th is still February
            assert await shared.used(month) == big - 1
            clock.now += 1
            assert await shared.used(month) == 0

    asyncio.run(go())


@pytest.mark.parametrize("kind", KINDS)
def test_a_reservation_nobody_settles_frees_itself_and_a_late_one_still_counts(kind, place):
    async def go():
        clock = Clock()
        async with shared_of(kind, place(kind), clock) as shared:
            limit = fresh("budget", "money", 10)
            lost = await shared.reserve([Ask(limit, 8)])
            with pytest.raises(BudgetExceeded) as caught:
                await shared.reserve([Ask(limit, 8)])
            assert "retry_after_s" not in caught.value.details
            clock.now += HOLD_S
            again = await shared.reserve([Ask(limit, 8)])
            shared.settle(lost, {"money": 3})
            assert await shared.used(limit) == 11
            shared.settle(again, {"money": 4})
            assert await shared.used(limit) == 7

    asyncio.run(go())


LIMITS = (
    Limit("r", "requests", 4, window_s=60.0),
    Limit("t", "tokens", 100, window_s=30.0),
    Limit("m", "money", 50, calendar="day"),
    Limit("c", "concurrency", 2),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True),
                  st.integers(0, 40)),
        st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 60)),
        st.tuples(st.just("release"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 45_000), st.just(0)),
    ),
    max_size=25,
)  # fmt: skip


class Model:
    """What a Shared means, said the plain way: a list of everything that was taken."""

    def __init__(self):
        self.taken = []  # [limit, time, amount, end of the hold or None]

    def used(self, limit, now):
        self.expire(now)
        first = limit.first(now)
        return sum(a for one, at, a, _ in self.taken if one is limit and limit.slot(at) >= first)

    def expire(self, now):
        for row in self.taken:
            if row[3] is not None and row[3] <= now:
                row[2], row[3] = 0, None

    def reserve(self, asks, now):
        if any(self.used(limit, now) + amount > limit.amount for limit, amount in asks):
            return None
        rows = [[limit, now, amount, now + HOLD_S] for limit, amount in asks]
        self.taken += rows
        return rows

    def settle(self, rows, actual):
        for row in rows:
            row[2] = 0 if row[0].kind == "concurrency" else actual[row[0].kind]
            row[3] = None


async def follow(shared, clock, steps):
    model, open_ = Model(), []
    for verb, what, amount in steps:
        if verb == "wait":
            clock.now += what / 100
        elif verb == "reserve":
            asks = [
                (LIMITS[i], 1 if LIMITS[i].kind in ("requests", "concurrency") else amount)
                for i in what
            ]
            expected = model.reserve(asks, clock.now)
            try:
                made = await shared.reserve([Ask(*a) for a in asks])
            except (RateLimited, BudgetExceeded):
                made = None
            assert (made is None) == (expected is None)
            if made is not None:
                open_.append((made, expected))
        elif what < len(open_):
            made, rows = open_.pop(what)
            actual = dict.fromkeys(
                ("requests", "tokens", "money"), 0 if verb == "release" else amount
            )
            shared.settle(made, actual)
            model.expire(clock.now)
            model.settle(rows, actual)
        for limit in LIMITS:
            assert await shared.used(limit) == model.used(limit, clock.now)


@given(STEPS)
@settings(max_examples=150)
def test_memory_follows_the_model(steps):
    clock = Clock()
    asyncio.run(follow(MemoryShared(hold_s=HOLD_S, clock=clock), clock, steps))


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_the_stores_follow_the_model_too(kind, place, tmp_path):
    where = f"sqlite:///{tmp_path / 'model.db'}" if kind == "sqlite" else place(kind)

    @given(STEPS)
    @settings(max_examples=12)
    def check(steps):
        async def go():
            clock = Clock(
                NOON + 10**7 * next(_NAMES)
            )  # nothing of the last example counts any more
            async with shared_of(kind, where, clock) as shared:
                await follow(shared, clock, steps)

        asyncio.run(go())

    check()


CHILD = """
import asyncio, sys
from stead.core.errors import SteadError
from stead.core.shared import Ask, Limit
sys.path.insert(0, sys.argv[1])
from tests.contracts.test_shared import shared_of

async def go():
    budget = Limit("budget", "money", 1000, scope=sys.argv[4])
    async with shared_of(sys.argv[2], sys.argv[3]) as shared:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        async def one(i):
            try:
                made = await shared.reserve([Ask(budget, 100)])
            except SteadError:
                return 0
            if sys.argv[5] == "die":
                print("held", flush=True)
                await asyncio.sleep(60)
            shared.settle(made, {"money": 100})
            return 1
        print("sent", sum(await asyncio.gather(*map(one, range(25)))), flush=True)

asyncio.run(go())
"""


def children(kind, where, scope, how, count):
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(root) / "src"), root])}
    made = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, root, kind, where, scope, how],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for _ in range(count)
    ]  # fmt: skip
    for child in made:
        assert child.stdout.readline() == "ready\n"
    for child in made:
        child.stdin.write("go\n")
        child.stdin.flush()
    return made


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])
def test_fifty_parallel_calls_of_two_processes_send_ten_for_a_budget_of_ten(kind, place):
    scope = f"two:{next(_NAMES)}"
    both = children(kind, place(kind), scope, "settle", 2)
    try:
        sent = [int(child.communicate(timeout=60)[0].split()[1]) for child in both]
    finally:
        for child in both:
            child.kill()

    assert sum(sent) == 10


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])
def test_a_process_killed_between_reserve_and_settle_holds_nothing_for_ever(kind, place):
    scope = f"killed:{next(_NAMES)}"
    (child,) = children(kind, place(kind), scope, "die", 1)
    assert child.stdout.readline() == "held\n"
    time.sleep(0.3)  # all ten are held by now, or the loop below takes a little longer
    child.kill()
    child.communicate()
    budget = Limit("budget", "money", 1000, scope=scope)

    async def go():
        async with shared_of(kind, place(kind)) as shared:
            assert await shared.used(budget) > 0
            late = Clock(time.time() + HOLD_S + 1)
        async with shared_of(kind, place(kind), late) as shared:
            assert await shared.used(budget) == 0

    asyncio.run(go())
