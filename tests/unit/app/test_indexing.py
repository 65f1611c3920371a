"""Runs that were made without the store come into it once, and again only when they have gone on."""

from tests.unit.app.test_run_folders import made

from stead.app import indexing
from stead.core import lease
from stead.core.events import EventLog, Failed, Finished, Progress, Started
from stead.store.runs import Run
from stead.store.stores import Stores


def more(folder, *events):
    log = EventLog(folder / "events.jsonl", clock=lambda: 2000.0)
    for event in events:
        log(event)
    log.close()


def test_runs_made_without_the_store_are_indexed_once(home):
    place = home.ensure()
    folder = made(
        place.runs / "one", Started(stage="train", total=4),
        *(Progress(stage="train", done=s, values={"loss": 5.0 - s, "peak_rss_mib": 2.0}) for s in (1, 2)),
        Failed(stage="train", error={"type": "Interrupted", "message": "stopped"}),
    )  # fmt: skip
    made(
        place.runs / "two",
        Started(stage="train", total=4),
        Failed(stage="train", error={"message": "no"}),
    )
    assert not indexing.index_if_kept(place, folder)
    with Stores.open(place) as stores:
        stores.runs.add(
            Run("job", "n", "paused", "", "", "", "", str(place.runs / "two"), 1.0, job="j")
        )

        assert indexing.index(stores, place) == 1
        assert indexing.index(stores, place) == 0
        found = stores.runs.get("one")
        assert (found.state, found.step, found.peak_bytes) == ("cancelled", 2, 2 << 20)
        assert stores.runs.metrics("one", ["loss"]).series["loss"] == [4.0, 3.0]

        more(
            folder,
            Progress(stage="train", done=3, values={"loss": 1.0}),
            Finished(stage="train", result={"steps": 3}),
        )
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 3, "loss": 1.0}\n')
        stores.runs.change("one", tags=["kept"])
        assert indexing.index_if_kept(place, folder)
        again = stores.runs.get("one")
        assert (again.state, again.step, again.tags) == ("succeeded", 3, ["kept"])
        assert stores.runs.metrics("one", ["loss"]).steps == [1, 2, 3]
        assert len(stores.runs.events_after("one")) == 6


def test_a_run_that_goes_on_is_followed_and_its_end_is_seen(home):
    place = home.ensure()
    folder = made(place.runs / "one", Started(stage="train", total=9), Progress(stage="train", done=1, values={"loss": 4.0}), steps=1)  # fmt: skip
    with Stores.open(place) as stores, lease.held(folder / ".lease"):
        index = indexing.Index(stores, place)
        assert index.look() == 1
        assert stores.runs.get("one").state == "running"
        assert index.look() == 0

        more(folder, Progress(stage="train", done=2, values={"loss": 3.0}))
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 2, "loss": 3.0}\n')
        assert index.look() == 1
        assert stores.runs.metrics("one", ["loss"]).series["loss"] == [4.0, 3.0]
        assert [e.number for e in stores.runs.events_after("one")] == [0, 1, 2]
    with Stores.open(place) as stores:
        assert indexing.Index(stores, place).look() == 1
        found = stores.runs.get("one")
        assert (found.state, found.step) == ("cancelled", 2)


def test_a_run_that_a_full_disk_stopped_is_paused_and_says_why(home):
    place = home.ensure()
    full = {"type": "ResourceError", "code": "disk-full", "message": "no space left"}
    made(place.runs / "one", Started(stage="train", total=4), Failed(stage="train", error=full))
    with Stores.open(place) as stores:
        indexing.index(stores, place)
        found = stores.runs.get("one")

    assert found.state == "paused"
    assert found.error == {"code": "disk-full", "message": "no space left"}
