"""What run folders say: state from lease and events, progress, finding by id, name and place."""

import json
from pathlib import Path
from typing import Any

import pytest

from stead.app import run_control, run_folders, run_pages
from stead.core import lease
from stead.core.errors import NotFound, UsageError
from stead.core.events import AnyEvent, EventLog, Failed, Finished, Progress, Started
from stead.core.paths import Home
from stead.store import run_index

_MEASURED = {
    "whole": True, "ran_share": 0.5, "stage_ran_share": 1.0, "begun_ran_share": 1.0, "begun_s": 4.0,
    "step_s": 2.0, "loop_s": 3.0, "stage_s": 5.0, "peak_bytes": 2, "begun_peak_bytes": 1, "device_peak_bytes": None,
}  # fmt: skip
RESULT = {
    "steps": 4, "final_loss": 1.5, "eval_loss": 2.0, "seconds": 3.0, "peak_rss_mib": 300, "measured": _MEASURED,
}  # fmt: skip


def made(
    folder: Path, *events: AnyEvent, name: str | None = None, lr: float = 1e-3, steps: int = 2
) -> Path:
    """Write a run folder of `steps` finished steps of four, with these events."""
    folder.mkdir(parents=True)
    config = {
        "name": name,
        "method": {"type": "sft"},
        "adapter": {"type": "lora"},
        "trainer": {"lr": lr},
    }
    forecast = {"steps": 4, "seconds": [1.0, 2.0, 3.0], "memory_bytes": [1e8, 2e8, 3e8]}
    plan = {"config": config, "forecast": forecast}
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "job.json").write_text(json.dumps({"verb": "train", "spec": {"plan": plan}}))
    lines = [json.dumps({"step": s, "loss": 5.0 - s, "lr": lr}) for s in range(1, steps + 1)]
    (folder / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
    log = EventLog(folder / "events.jsonl", clock=lambda: 1000.0)
    for event in events:
        log(event)
    log.close()
    return folder


def finished(folder: Path, **more: Any) -> Path:
    made(
        folder,
        Started(stage="train", total=4),
        Finished(stage="train", result=RESULT),
        steps=4,
        **more,
    )
    (folder / "result.json").write_text(json.dumps(RESULT))
    (folder / "final").mkdir()
    return folder


STARTED = Started(stage="train", total=4)


def failed(kind: str, code: str = "x") -> Failed:
    return Failed(stage="train", error={"type": kind, "code": code, "message": f"a {kind}"})


@pytest.mark.parametrize(
    ("events", "state", "reason"),
    [
        ([STARTED, Finished(stage="train", result=RESULT)], "succeeded", None),
        ([STARTED, failed("TrainingError")], "failed", "a TrainingError"),
        ([failed("DataError")], "failed", "a DataError"),
        ([STARTED, failed("Interrupted")], "interrupted", "a Interrupted"),
        ([STARTED, failed("ResourceError", "disk-full")], "paused", "a ResourceError"),
        ([STARTED, failed("ResourceError", "disk-error")], "failed", "a ResourceError"),
        ([STARTED], "interrupted", "its process ended without a word"),
        ([STARTED, failed("Interrupted"), STARTED], "interrupted", "its process ended without a word"),
        ([STARTED, Finished(stage="train", result=RESULT), Failed(stage="evaluate", error={"type": "X"})], "succeeded", None),
        ([], "interrupted", "its process ended without a word"),
    ],
)  # fmt: skip
def test_how_a_run_ended_is_what_it_said_last(
    events: list[AnyEvent], state: str, reason: str | None, tmp_path: Path
) -> None:
    found = run_folders.summary(made(tmp_path / "run", *events))

    assert (found.state, found.reason) == (state, reason)


def test_a_run_is_alive_while_its_lease_is_held_whatever_its_files_say(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", STARTED, failed("Interrupted"), STARTED)

    with lease.held(folder / ".worker") as mine:
        during = run_folders.summary(folder).state
    with lease.held(folder / ".lease"):
        inside_a_program = run_folders.summary(folder).state
    with lease.held(folder / ".follower"):
        being_started = run_folders.summary(folder).state
    (folder / ".worker").write_text("1")  # a number left behind is nobody

    assert mine
    assert (during, inside_a_program, being_started) == ("running",) * 3
    assert run_folders.summary(folder).state == "interrupted"


def test_progress_is_read_from_the_logs_and_a_line_in_writing_is_left_out(tmp_path: Path) -> None:
    values = {"eval_loss": 2.5, "tokens_per_s": 70.0, "seconds_left": 9.0}
    folder = made(tmp_path / "run", STARTED, Progress(stage="train", done=2, values=values))
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "lo')

    with lease.held(folder / ".worker"):
        found = run_folders.summary(folder)

    assert (found.step, found.total, found.loss) == (2, 4, 3.0)
    assert (found.eval_loss, found.tokens_per_s, found.seconds_left) == (2.5, 70.0, 9.0)
    assert found.started == 1000.0
    assert (found.method, found.adapter) == ("sft", "lora")


def test_runs_are_found_wherever_they_lie(home: Home, tmp_path: Path) -> None:
    place = home
    made(place.runs / "20260101-train-aa", STARTED, name="first")
    elsewhere = finished(tmp_path / "elsewhere")
    (place.runs / "20260102-evaluate-bb").mkdir()
    run_index.register(place, elsewhere)
    run_index.register(place, elsewhere)

    assert {r.id for r in run_folders.runs(place)} == {"20260101-train-aa", "elsewhere"}
    for text in ("first", "20260101-train-aa", "2026", str(place.runs / "20260101-train-aa")):
        assert run_folders.find(text, place) == place.runs / "20260101-train-aa"
    with pytest.raises(NotFound, match="did you mean 'elsewhere'"):
        run_folders.find("elsewere", place)


def test_a_name_that_fits_several_runs_is_refused(home: Home) -> None:
    place = home
    made(place.runs / "a1", STARTED)
    made(place.runs / "a2", STARTED)

    with pytest.raises(NotFound, match=r"may be one of .*a1, .*a2") as caught:
        run_folders.find("a", place)

    assert caught.value.code == "several-runs"


def test_details_hold_forecast_against_actual_and_files(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    saved = folder / "checkpoints" / "step-00000002"
    saved.mkdir(parents=True)
    (saved / "model.safetensors").write_bytes(b"12345")

    found = run_control.details(folder)

    assert found["forecast"]["seconds"] == {"forecast": [1.0, 2.0, 3.0], "actual": 9.0}
    assert found["forecast"]["memory_bytes"]["actual"] == 300 << 20
    assert found["checkpoints"] == {"step-00000002": 5}
    assert found["config"]["trainer.lr"] == 1e-3


@pytest.mark.parametrize(
    ("whole", "begun_s", "took"), [(True, 5.0, 14.0), (True, 3600.0, 9.0), (False, 5.0, None)]
)  # fmt: skip
def test_a_forecast_of_a_run_is_compared_with_all_of_its_time(
    whole: bool, begun_s: float, took: float | None, tmp_path: Path
) -> None:
    measured = {"whole": whole, "begun_s": begun_s, "stage_s": 9.0}
    ended = Finished(stage="train", result=RESULT | {"measured": measured})
    folder = made(tmp_path / "run", STARTED, ended)

    assert run_control.details(folder)["forecast"]["seconds"]["actual"] == took


def test_a_comparison_shows_what_differs(tmp_path: Path) -> None:
    first, second = finished(tmp_path / "a", lr=1e-3), finished(tmp_path / "b", lr=1e-4, name="<b>")

    found = run_control.compare([first, second])
    run_pages.write_comparison(found, tmp_path / "page.html")

    assert found.settings == {"trainer.lr": [1e-3, 1e-4]}
    assert found.results["final_loss"] == [1.5, 1.5]
    assert found.losses[0] == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]
    page = (tmp_path / "page.html").read_text()
    assert "<polyline" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page.replace("<b>", "", page.count('<div class="kpi"><b>'))


def test_following_tells_everything_and_ends_with_the_run(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", STARTED, Progress(stage="train", done=1))
    log, told = EventLog(folder / "events.jsonl"), []
    with lease.held(folder / ".worker"):
        pass
    waits = iter(range(3))

    def sleep(_: float) -> None:  # the run works on while nobody looks, then it ends
        if next(waits, None) is None:
            log(Finished(stage="train", result=RESULT))
            holding.__exit__(None, None, None)
        else:
            log(Progress(stage="train", done=2))

    holding = lease.held(folder / ".worker")
    holding.__enter__()
    found = run_control.follow_run(folder, told.append, sleep)
    log.close()

    assert [type(e).__name__ for e in told] == ["Started", *["Progress"] * 4, "Finished"]
    assert found.state == "succeeded"


def test_only_a_running_worker_can_be_cancelled(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")

    with pytest.raises(UsageError, match="not running: its state is succeeded"):
        run_control.cancel(folder, 1)
    with lease.held(folder / ".lease"), pytest.raises(UsageError, match="inside another program"):
        run_control.cancel(folder, 1)
    with lease.held(folder / ".worker"), pytest.raises(UsageError, match="is running"):
        run_control.resume(folder)
