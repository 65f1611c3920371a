"""A worker that is killed, a follower that is killed, a signal that stops: nothing is lost or done twice.

One run through the real worker program, hurt in every way, against one that nobody touched.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from stead.app import plans, runs, supervise
from stead.core import allocator, lease
from stead.core.errors import Interrupted, ProcessError, TrainingError
from stead.core.events import AnyEvent, Note, Progress, ignore
from stead.pipeline import stages
from stead.planning.plan import Plan

STEPS = 300  # a worker makes a hundred in the time in which its follower looks twice


def plan_of(model: Path, folder: Path, out: Path, **more: Any) -> dict[str, Any]:
    path = folder / "rows.jsonl"
    rows = [{"question": f"what is {i}?", "answer": f"two plus {i}"} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "model.path": str(model), "data.path": str(path), "data.max_length": 64, "out": str(out),
        "trainer.max_steps": STEPS, "trainer.batch_tokens": 128, "trainer.checkpoint_every": 20,
        "trainer.epochs": 500, "trainer.trackers": [], "adapter.dropout": 0.1, "trainer.proofs": False,
        "model.dtype": "fp32",
    }  # fmt: skip
    return plans.make_plan(None, settings | more).placed(out).to_json()


class Hurt:
    """Does something once, at a step."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act, self.notes = step, act, []  # type: int, Callable[[], None], list[Note]

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Note):
            self.notes.append(event)
        if isinstance(event, Progress) and event.stage == "train" and event.done >= self.step:
            self.step = 10**9
            self.act()


def kill_worker(out: Path) -> None:
    pid = lease.holder(out / runs.ALIVE)
    if pid:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not allocator.scalable(), reason="oneTBB's allocator is not installed")
def test_another_allocator_changes_no_number_and_a_kill_loses_none(
    tiny_model: Path, tmp_path: Path
) -> None:
    """A worker with oneTBB's allocator, killed and started again, against this process with the C library's."""
    torch.set_num_threads(1)
    whole, out = tmp_path / "whole", tmp_path / "hurt"
    dora = {"adapter.dora": True, "trainer.max_steps": 60}
    wanted = stages.run(Plan.from_json(plan_of(tiny_model, tmp_path, whole, **dora))).meta
    spec = {"plan": plan_of(tiny_model, tmp_path, out, **dora), "resume": True}
    loaded: list[bool] = []

    def look() -> None:
        maps = Path(f"/proc/{lease.holder(out / runs.ALIVE)}/maps").read_text()
        loaded.append("libtbbmalloc_proxy" in maps)

    def look_and_kill() -> None:
        look()
        kill_worker(out)

    hurts = [Hurt(3, look_and_kill), Hurt(30, look)]

    def both(event: AnyEvent) -> None:
        for hurt in hurts:
            hurt(event)

    found = supervise.train(spec, out, both)

    assert loaded == [True, True]
    assert found["weights_sha256"] == wanted["weights_sha256"]
    assert (out / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


@pytest.mark.spec("001-011")
def test_a_run_that_is_hurt_in_every_way_ends_as_one_that_nobody_touched(
    tiny_model: Path, tmp_path: Path
) -> None:
    """Its follower is killed, it is adopted, killed, started again, stopped and resumed."""
    torch.set_num_threads(1)  # as OMP_NUM_THREADS says to workers
    whole, out = tmp_path / "whole", tmp_path / "hurt"
    wanted = stages.run(Plan.from_json(plan_of(tiny_model, tmp_path, whole))).meta
    spec = {"plan": plan_of(tiny_model, tmp_path, out), "resume": True}

    pid = os.fork()
    if pid == 0:  # a follower that is killed without a chance to stop its worker
        supervise.train(spec, out, Hurt(2, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        os._exit(0)
    os.waitpid(pid, 0)
    refused: list[str] = []

    def leave() -> None:
        raise KeyboardInterrupt  # as Ctrl-C and SIGTERM do in the follower

    def intrude() -> None:
        with pytest.raises(TrainingError) as caught:
            runs.launch("train", spec, out)
        refused.append(caught.value.code)

    hurts = [Hurt(3, intrude), Hurt(60, lambda: kill_worker(out)), Hurt(120, leave)]

    def all_of(event: AnyEvent) -> None:
        for hurt in hurts:
            hurt(event)

    with pytest.raises(Interrupted, match=rf"after step \d+ of {STEPS}") as caught:
        supervise.train(spec, out, all_of)
    found = supervise.train(spec, out)

    assert caught.value.exit_status == 130
    assert caught.value.hint == f"stead runs resume {out}"
    notes = [n.code for n in hurts[0].notes]
    assert "adopted" in notes
    assert notes.count("restarted") == 1
    assert refused == ["run-held"]
    assert found["weights_sha256"] == wanted["weights_sha256"]
    assert found["resume_level"] == "exact"
    log = (out / "metrics.jsonl").read_bytes()
    assert log == (whole / "metrics.jsonl").read_bytes()
    assert [json.loads(x)["step"] for x in log.splitlines()] == list(range(1, STEPS + 1))


def test_two_processes_of_which_one_is_killed_end_as_two_that_nobody_touched(
    tiny_model: Path, tmp_path: Path
) -> None:
    def together(out: Path, emit: Callable[[AnyEvent], None]) -> dict[str, Any]:
        spec = plan_of(tiny_model, tmp_path, out)
        spec["config"]["launch"] |= {"type": "torchrun", "processes": 2}
        where = Plan.from_json(spec).config.launch
        return supervise.train({"plan": spec, "resume": False}, out, emit, where)

    def kill_one() -> None:
        first = psutil.Process(lease.holder(tmp_path / "hurt" / runs.ALIVE))
        other = next(p for p in first.parent().children() if p.pid != first.pid)
        other.kill()

    hurt = Hurt(60, kill_one)
    wanted = together(tmp_path / "whole", ignore)
    found = together(tmp_path / "hurt", hurt)

    assert [n.code for n in hurt.notes].count("restarted") == 1
    assert found["processes"] == 2
    assert found["weights_sha256"] == wanted["weights_sha256"]
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "hurt")]
    assert logs[0] == logs[1]


def test_a_worker_that_dies_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[Any] = []

    def die(spec: Any, *_: Any) -> Any:
        starts.append(spec["resume"])
        raise ProcessError("worker-died", "the worker ended with signal 9", status=-9)

    monkeypatch.setattr(runs, "train", die)
    with pytest.raises(ProcessError) as caught:
        supervise.train({"resume": False}, tmp_path)

    assert caught.value.code == "worker-keeps-dying"
    assert starts == [False, *[True] * supervise.RESTARTS]


def test_a_worker_that_gains_steps_is_started_as_often_as_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = iter(range(20))

    def gain(spec: Any, folder: Path, emit: Any, where: Any) -> Any:
        step = next(starts)
        if step == 12:
            return {"steps": 12}
        emit(Progress(stage="train", done=step + 1))
        raise ProcessError("worker-died", "the worker ended with signal 11", status=-11)

    monkeypatch.setattr(runs, "train", gain)

    assert supervise.train({"resume": "same-order"}, tmp_path) == {"steps": 12}


def test_a_worker_that_says_it_cannot_go_on_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[int] = []

    def refuse(*_: Any) -> Any:
        starts.append(1)
        raise ProcessError("worker-died", "the worker ended with status 1", status=1)

    monkeypatch.setattr(runs, "train", refuse)
    with pytest.raises(ProcessError, match="status 1"):
        supervise.train({"resume": False}, tmp_path)

    assert starts == [1]


@pytest.mark.slow
def test_a_worker_that_hangs_is_noticed_and_killed(tiny_model: Path, tmp_path: Path) -> None:
    class Where:
        type, processes, step_timeout_s, sharding = "process", 1, 1.5, "none"

    out = tmp_path / "run"
    spec = {"plan": plan_of(tiny_model, tmp_path, out), "resume": True}
    frozen = Hurt(5, lambda: os.kill(lease.holder(out / runs.ALIVE) or 0, signal.SIGSTOP))

    found = supervise.train(spec, out, frozen, Where())

    assert [n.code for n in frozen.notes if n.code in ("hang", "restarted")] == [
        "hang",
        "restarted",
    ]
    assert found["steps"] == STEPS


def test_exactly_one_of_many_trainers_holds_a_run(tmp_path: Path) -> None:
    """Races: the losers get the typed error and write nothing."""
    from stead.training.saving import lease as own

    for race in range(10):
        folder, winners, losers = tmp_path / str(race), [], []
        gate, done = threading.Barrier(4), threading.Event()

        def run(
            folder: Path = folder, winners: list[int] = winners, losers: list[str] = losers,
            gate: threading.Barrier = gate, done: threading.Event = done,
        ) -> None:  # fmt: skip
            gate.wait()
            try:
                with own.held(folder):
                    winners.append(1)
                    done.wait(10)
            except TrainingError as error:
                losers.append(error.code)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 10
        while len(losers) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        done.set()
        for thread in threads:
            thread.join()

        assert (len(winners), losers) == (1, ["run-held"] * 3)
