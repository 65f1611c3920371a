"""Trackers: what they are told, a resume without double points, and failures that stop nothing."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.fakes import training

from stead.app.plans import auto_trackers, make_plan
from stead.config.kinds import registry
from stead.core.errors import Interrupted, MissingDependency
from stead.core.events import AnyEvent, Note, Progress
from stead.core.paths import Home
from stead.core.process import stop_requested
from stead.training.callback import Run, StepOutcome
from stead.training.tracker import Tracked, Tracker
from stead.training.trackers.mlflow import MLflow
from stead.values import PreparedData

TRACKERS = registry("tracker")
SETTINGS = {"max_steps": 4, "epochs": 9.0, "eval_every": 2}


class Memory(Tracker):
    """Keeps what it is told; fails on request."""

    told: list[tuple[str, int, dict[str, float]]] = []  # noqa: RUF012
    fails_in: str = ""

    def open(self, step: int) -> None:
        self._maybe("open")
        self.told.append(("open", step, {}))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._maybe("write")
        self.told.append(("write", step, dict(values)))

    def close(self, *, is_whole: bool) -> None:
        self._maybe("close")
        self.told.append(("close" if is_whole else "left", 0, {}))

    def _maybe(self, place: str) -> None:
        if self.fails_in == place:
            raise RuntimeError(f"no {place} today")


@pytest.fixture(autouse=True)
def memory() -> Iterator[type[Memory]]:
    torch.set_num_threads(1)
    stop_requested.clear()
    fresh = type("Memory", (Memory,), {"told": [], "fails_in": ""})
    TRACKERS.register("memory", fresh)
    yield fresh
    TRACKERS._added.clear()  # other tests list what ships
    TRACKERS._loaded.pop("memory", None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    made = training.rows(8)
    return training.prepared(tmp_path_factory.mktemp("data") / "rows", made, made[:2])


def run(model: Path, data: PreparedData, out: Path, *names: str, **more: Any) -> dict[str, Any]:
    return training.run(model, data, out, trackers=names, **{**SETTINGS, **more})


def stop_after(step: int) -> Any:
    def watch(event: AnyEvent) -> None:
        if isinstance(event, Progress) and event.done == step:
            stop_requested.set()

    return watch


def die_after(step: int) -> Any:
    def watch(event: AnyEvent) -> None:
        if isinstance(event, Progress) and event.done == step:
            raise KeyboardInterrupt

    return watch


def test_a_tracker_is_told_every_step_and_every_held_out_loss(
    tiny_model: Path, data: PreparedData, tmp_path: Path, memory: type[Memory]
) -> None:
    run(tiny_model, data, tmp_path, "memory")

    kinds = [(kind, step) for kind, step, _ in memory.told]
    writes = [v for kind, _, v in memory.told if kind == "write"]
    log = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert kinds == [("open", 0), *(("write", s) for s in (1, 2, 3, 4, 4)), ("close", 0)]
    assert [v["train/loss"] for v in writes[:4]] == [line["loss"] for line in log]
    assert {"train/learning_rate", "train/grad_norm", "speed/tokens_per_s"} <= writes[0].keys()
    assert ["eval/loss" in v for v in writes] == [False, True, False, False, True]


@pytest.mark.parametrize("place", ["open", "write", "close"])
def test_a_failing_tracker_is_told_once_and_stops_nothing(
    place: str, tiny_model: Path, data: PreparedData, tmp_path: Path, memory: type[Memory]
) -> None:
    memory.fails_in = place
    events: list[AnyEvent] = []

    result = run(tiny_model, data, tmp_path, "memory", emit=events.append)

    notes = [e for e in events if isinstance(e, Note)]
    assert result["steps"] == 4
    assert [(n.code, n.level) for n in notes] == [("tracker-failed", "warning")]
    assert f"no {place} today" in notes[0].message


def test_a_held_out_reward_is_told_as_what_it_is(tmp_path: Path, memory: type[Memory]) -> None:
    tracker = memory(Tracked("x", tmp_path))
    run = Run(total=9, emit=lambda event: None, save=lambda: None, evaluate=lambda: None)
    run.step = run.measured = 1
    run.held_out, run.values = -0.25, {"eval_reward": 0.25}  # as callbacks/evaluate leaves them

    tracker.after_step(run, StepOutcome(0.0, 1.0, 0.1, 1, 1.0))

    told = {k: v for k, v in memory.told[0][2].items() if k.startswith("eval/")}
    assert told == {"eval/reward": 0.25}


def test_trackers_change_no_bit_of_the_result(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    with_one = run(tiny_model, data, tmp_path / "a", "memory")
    without = run(tiny_model, data, tmp_path / "b")

    assert with_one["weights_sha256"] == without["weights_sha256"]


def test_a_tracker_may_be_added_to_a_run_that_is_resumed(
    tiny_model: Path, data: PreparedData, tmp_path: Path, memory: type[Memory]
) -> None:
    with pytest.raises(Interrupted):
        run(tiny_model, data, tmp_path, emit=stop_after(2))
    stop_requested.clear()

    with pytest.raises(Interrupted):
        run(tiny_model, data, tmp_path, "memory", resume=True, emit=stop_after(3))

    kinds = [(kind, step) for kind, step, _ in memory.told]
    assert kinds == [("open", 2), ("write", 3), ("left", 0)]


def points(folder: Path) -> dict[str, dict[int, float]]:
    """Return the curves that TensorBoard itself reads from a folder, all files together."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=True)
    found.Reload()
    return {tag: {e.step: e.value for e in found.Scalars(tag)} for tag in found.Tags()["scalars"]}


@pytest.mark.spec("002-050", "002-031")
def test_tensorboard_reads_back_the_losses_also_after_a_resume(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")

    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, data, tmp_path, "tensorboard", checkpoint_every=2, emit=die_after(3))
    run(tiny_model, data, tmp_path, "tensorboard", checkpoint_every=2, resume=True)

    curves = points(tmp_path / "tensorboard")
    log = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    # event files hold float32
    assert curves["train/loss"] == pytest.approx({x["step"]: x["loss"] for x in log}, rel=1e-6)
    assert sorted(curves["eval/loss"]) == [2, 4]
    assert {"train/learning_rate", "train/grad_norm", "speed/tokens_per_s"} <= curves.keys()


def test_steps_that_are_done_again_after_a_rewind_are_there_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tracker = TRACKERS.create("tensorboard", tracked=Tracked("x", tmp_path))
    run = Run(total=9, emit=lambda event: None, save=lambda: None, evaluate=lambda: None)
    tracker.begin(run)

    for step, loss in ((1, 5.0), (2, 4.0), (3, 99.0), (2, 3.0), (3, 2.0)):
        run.step = step
        tracker.after_step(run, StepOutcome(loss, 1.0, 0.1, 1, 1.0))
    tracker.end(run)

    assert points(tmp_path / "tensorboard")["train/loss"] == {1: 5.0, 2: 3.0, 3: 2.0}


@pytest.mark.spec("002-049")
def test_tensorboard_is_on_unless_it_is_turned_off(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")

    usual = auto_trackers(Home(home))
    absent, told = auto_trackers(Home(home), installed=lambda name: False)
    monkeypatch.setenv("MODELFORGE_DISABLE_TENSORBOARD", "1")
    off, why = auto_trackers(Home(home))
    monkeypatch.setenv("MODELFORGE_DISABLE_TENSORBOARD", "0")
    on_again = auto_trackers(Home(home))

    assert usual == on_again == (("tensorboard",), "TensorBoard is installed")
    assert off == absent == ()
    assert "not installed" in told
    assert "MODELFORGE_DISABLE_TENSORBOARD" in why


@pytest.mark.spec("002-049")
def test_every_plan_says_who_is_told_and_why(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    rows = tmp_path / "rows.jsonl"
    lines = [{"question": f"what is {i}?", "answer": f"it is {i}"} for i in range(8)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = {"model": {"path": str(tiny_model)}, "data": {"path": str(rows)}}

    usual = make_plan(asked)
    monkeypatch.setenv("MODELFORGE_DISABLE_TENSORBOARD", "true")
    off = make_plan(asked)
    wanted = make_plan(asked, {"trainer.trackers": ["tensorboard"]})

    assert usual.config.trainer.trackers == ("tensorboard",)
    assert off.config.trainer.trackers == ()
    assert "MODELFORGE_DISABLE_TENSORBOARD" in off.origins["trainer.trackers"]
    assert wanted.config.trainer.trackers == ("tensorboard",)  # a recipe's own word counts more
    assert usual.hash == off.hash  # who watches changes nothing


def test_mlflow_has_every_point(
    tiny_model: Path, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", exc_type=ImportError)
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    client = mlflow.MlflowClient(store)

    def runs() -> Any:  # Any: mlflow's entities
        experiment = client.get_experiment_by_name("stead")
        return client.search_runs([experiment.experiment_id])

    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, data, tmp_path / "run", "mlflow", checkpoint_every=2, emit=die_after(3))
    stopped = runs()[0].info.status
    run(tiny_model, data, tmp_path / "run", "mlflow", checkpoint_every=2, resume=True)

    (found,) = runs()
    assert (stopped, found.info.status) == ("KILLED", "FINISHED")
    assert found.data.params["trainer.optimizer"] == "adamw"
    steps = [m.step for m in client.get_metric_history(found.info.run_id, "train/loss")]
    assert steps == [1, 2, 3, 4]  # step 3 was done twice


class _Server:
    """What MLflow's server keeps of one run: points and tags."""

    def __init__(self, *_: Any) -> None:
        self.tags: dict[str, str] = {}
        self.points: list[tuple[str, int]] = []

    def update_run(self, *_: Any, **__: Any) -> None: ...

    def get_run(self, _: str) -> Any:
        return SimpleNamespace(data=SimpleNamespace(tags=self.tags))

    def log_batch(self, _: str, points: list[Any], tags: list[Any]) -> None:
        self.points += [(p[0], p[3]) for p in points]
        self.tags |= dict(tags)


def test_mlflow_gets_the_last_measurement_of_a_run_that_was_killed_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = _Server()
    entities = SimpleNamespace(Metric=lambda *values: values, RunTag=lambda *values: values)
    clock = SimpleNamespace(time=SimpleNamespace(get_current_time_millis=lambda: 0))
    library = SimpleNamespace(entities=entities, utils=clock, MlflowClient=lambda _: server)
    monkeypatch.setitem(sys.modules, "mlflow", library)

    def life(*written: tuple[int, dict[str, float]]) -> None:
        tracker = MLflow(Tracked("run", tmp_path))
        tracker.restore({"run": "id"})
        tracker.open(0)
        for step, values in written:
            tracker.write(step, values)

    life((1, {"train/loss": 1.0}), (2, {"train/loss": 1.0}))
    life((2, {"train/loss": 1.0}), (2, {"eval/loss": 1.0}))
    life((2, {"train/loss": 1.0}), (2, {"eval/loss": 1.0}))

    assert server.points == [("train/loss", 1), ("train/loss", 2), ("eval/loss", 2)]


def test_wandb_works_without_network(
    tiny_model: Path, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody is logged in there
    events: list[AnyEvent] = []

    run(tiny_model, data, tmp_path, "wandb", emit=events.append)

    assert not [e for e in events if isinstance(e, Note)]
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


def test_a_tracker_that_is_not_installed_is_refused_before_training(
    tiny_model: Path, data: PreparedData, tmp_path: Path, memory: type[Memory]
) -> None:
    memory.requires = ("no_such_library",)

    with pytest.raises(MissingDependency, match="no_such_library"):
        run(tiny_model, data, tmp_path, "memory")
