"""Measurements and events of runs: packed, replaced from where a run went back, thinned without losing extremes."""

import math
import random

import pytest
import sqlalchemy as sa

from stead.core.errors import NotFound
from stead.store.events import Stored
from stead.store.metrics import BLOCK
from stead.store.runs import Run
from stead.store.tables import EVENTS, METRICS


def run(stores, name="r", at=1.0, **values):
    return stores.runs.add(Run(name, values.pop("called", name), "running", "sft", "lora", "m", "d", "/o", at, **values))  # fmt: skip


def put(stores, points, name="r", told=()):
    stores.database.transact(lambda c: stores.runs.record(c, name, told=told, points=points))


def test_points_come_back_as_they_were_put_over_any_split(stores):
    run(stores)
    rng = random.Random(0)
    loss = [(i, i / 8) for i in range(1, 2 * BLOCK + 50)]
    every = [(i, float(i)) for i in range(10, 2 * BLOCK, 10)]
    at = 0
    while at < len(loss):
        end = at + rng.randrange(1, 300)
        steps = loss[at:end]
        low, high = steps[0][0], steps[-1][0]
        put(stores, {"loss": steps, "eval_loss": [p for p in every if low <= p[0] <= high]})
        at = end

    found = stores.runs.metrics("r", points=100_000)

    assert found.steps == [s for s, _ in loss]
    assert found.series["loss"] == [v for _, v in loss]
    assert [
        p for p in zip(found.steps, found.series["eval_loss"], strict=True) if p[1] is not None
    ] == every
    assert stores.runs.keys("r") == ["eval_loss", "loss"]
    assert stores.runs.metrics("r", ["loss"], from_step=1000, points=10**6).steps[0] == 1000


def test_a_stretch_of_steps_and_the_event_to_follow_from(stores):
    run(stores)
    told = [Stored(i, {"seq": i, "event": "progress"}) for i in range(7)]
    put(stores, {"loss": [(i, float(i)) for i in range(2 * BLOCK)]}, told=told)

    found = stores.runs.metrics("r", from_step=BLOCK - 2, to_step=BLOCK + 1)

    assert found.steps == [BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 1]
    assert found.last_event == 6
    assert stores.runs.metrics("r", to_step=0).steps == [0]


@pytest.mark.parametrize("back", [3, BLOCK - 1, BLOCK + 5, 2 * BLOCK])
def test_a_run_that_went_back_has_each_step_once(stores, back):
    run(stores)
    end = 2 * BLOCK + 20
    put(stores, {"loss": [(i, 1.0) for i in range(end)]})
    put(stores, {"loss": [(i, 2.0) for i in range(back, back + 10)]})
    put(stores, {"loss": [(i, 2.0) for i in range(back + 10, end)]})

    found = stores.runs.metrics("r", points=10**6)

    assert found.steps == list(range(end))
    assert found.series["loss"] == [1.0] * back + [2.0] * (end - back)


@pytest.mark.parametrize("length", [3000, 40_000])
def test_thinned_series_keep_every_extreme(stores, length):
    run(stores)
    rng = random.Random(1)
    values = [rng.random() for _ in range(length)]
    values[length // 3], values[length // 2] = 99.0, -99.0
    put(stores, {"loss": list(enumerate(values)), "lr": [(i, 1.0) for i in range(length)]})

    found = stores.runs.metrics("r", points=500)

    seen = [v for v in found.series["loss"] if v is not None]
    assert len(found.steps) <= 500
    assert found.steps == sorted(found.steps)
    assert (max(seen), min(seen)) == (99.0, -99.0)
    place = found.steps[found.series["loss"].index(99.0)]
    assert abs(place - length // 3) <= length / 250 + 128
    assert set(found.series["lr"]) == {1.0}


def test_what_is_no_number_is_left_out(stores):
    run(stores)
    put(stores, {"loss": [(1, math.nan), (2, 1.0), (3, math.inf), (4, 1e300)]})
    found = stores.runs.metrics("r")
    assert found.steps == [2, 4]
    assert found.series["loss"][1] > 1e38


def test_events_have_the_numbers_of_their_writer_and_come_once(stores):
    run(stores)
    told = [Stored(i, {"seq": i, "event": "note", "message": f"π {i}"}) for i in range(10)]
    put(stores, {}, told=told[:4])
    put(stores, {}, told=told[2:7])  # some of them again
    put(stores, {}, told=told[7:])

    found = stores.runs.events_after("r")

    assert found == told
    assert [e.number for e in stores.runs.events_after("r", 5, limit=3)] == [6, 7, 8]
    assert stores.runs.events_after("other") == []


def test_a_failing_write_leaves_neither_events_nor_points(stores):
    run(stores)

    def work(connection):
        stores.runs.record(connection, "r", told=[Stored(0, {"seq": 0})], points={"a": [(1, 1.0)]})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stores.database.transact(work)
    assert stores.runs.events_after("r") == []
    assert stores.runs.keys("r") == []


def test_runs_are_found_by_state_and_text(stores):
    run(stores, "a", 1.0, called="Tickets 100%")
    run(stores, "b", 2.0, called="other")
    stores.runs.change("b", state="failed")

    assert [r.id for r in stores.runs.list().items] == ["b", "a"]
    assert [r.id for r in stores.runs.list(state="failed").items] == ["b"]
    assert [r.id for r in stores.runs.list(q="tickets").items] == ["a"]
    assert [r.id for r in stores.runs.list(q="0%").items] == ["a"]
    assert stores.runs.list(q="_").items == []


def test_removing_a_run_removes_all_that_is_its_own(stores):
    run(stores)
    put(stores, {"loss": [(1, 1.0)]}, told=[Stored(0, {"seq": 0})])
    stores.runs.remove("r")

    with stores.database.read() as connection:
        for table in (METRICS, EVENTS):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0
    with pytest.raises(NotFound):
        stores.runs.metrics("r")
