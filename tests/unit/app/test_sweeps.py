"""Sweeps: what may be tried, what is tried, and that a stopped sweep asks the same questions."""

import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stead.app import samplers, search_space, sweeps
from stead.app.samplers import Trial
from stead.app.sweeps import SweepRequest
from stead.config import load
from stead.core.errors import ConfigError, DataError, Interrupted, ResourceError
from stead.core.events import Emit, Note, Progress

LR = "trainer.lr=1e-5:1e-1:log"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    load.dump(path, {"model": {"path": "base"}, "data": {"path": "rows.jsonl"}, "method": "sft", "adapter": "lora"})  # fmt: skip
    return path


def asked(recipe: Path, *params: str, **more: Any) -> SweepRequest:
    return SweepRequest(recipe, params or (LR,), **{"sampler": "random", "trials": 6, **more})


def bowl(request: SweepRequest, number: int, params: Mapping[str, Any], folder: Path, emit: Emit) -> Mapping[str, Any]:  # fmt: skip
    """A training whose loss is least at a rate of 1e-3; it reports twice."""
    folder.mkdir(parents=True)
    loss = (math.log10(params["trainer.lr"]) + 3) ** 2 + 1
    for step in (1, 2):
        emit(Progress(stage="train", done=step, values={"eval_loss": loss}))
    return {"eval_loss": loss, "seconds": 2.0, "scores": {"exact_match": {"tuned": 1 / loss}}}


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("adapter.r=4,8,16", [4, 8, 16]),
        ("trainer.optimizer=adamw,muon", ["adamw", "muon"]),
        ("trainer.lr=1e-4", [1e-4]),
        ("trainer.lr=1e-4:1e-2:log:3", pytest.approx([1e-4, 1e-3, 1e-2])),
        ("trainer.warmup=0.0:0.2:3", pytest.approx([0.0, 0.1, 0.2])),
        ("adapter.r=4:8:5", [4, 5, 6, 7, 8]),
        ("model.path=hf:org/name,other", ["hf:org/name", "other"]),
        ("trainer.keep_best=true,false", [True, False]),
    ],
)
def test_choices_and_ranges_are_read(text: str, grid: list[Any]) -> None:
    assert search_space.parse(text).grid() == grid


@pytest.mark.parametrize(
    "text", ["lr", "=1,2", "lr=", "lr=2:1", "lr=0:1:log", "lr=1:2:linear", "lr=1:2:3:4"]
)
def test_what_is_no_parameter_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="KEY=LOW:HIGH") as caught:
        search_space.parse(text)

    assert caught.value.code == "bad-parameter"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"params": ("trainer.lrr=1,2",)}, "unknown-key"),
        ({"params": ("adapter.zzz=1,2",)}, "unknown-key"),
        ({"params": ("trainer.lr=0.1:100.0",)}, "bad-value"),
        ({"params": ("trainer.optimizer=adamw,adamm",)}, "unknown-name"),
        ({"params": (LR, LR)}, "bad-parameter"),
        ({"sampler": "tpee"}, "unknown-sampler"),
        ({"metric": "rougeX"}, "unknown-metric"),
        ({"overrides": {"data.eval_share": 0.0}}, "no-evaluation-data"),
    ],
)
def test_everything_is_checked_before_the_first_trial(
    change: dict[str, Any], code: str, recipe: Path
) -> None:
    request = SweepRequest(recipe, **{"params": (LR,), "sampler": "random", **change})

    with pytest.raises(ConfigError) as caught:
        sweeps.check(request)

    assert caught.value.code == code


def test_the_best_recipe_is_the_first_one_with_the_best_values(
    recipe: Path, tmp_path: Path
) -> None:
    request = asked(recipe, LR, "adapter.r=4,8", prune=False)

    result = sweeps.run_sweep(request, tmp_path / "out", train=bowl)

    losses = {t["number"]: t["value"] for t in result["trials"]}
    best = load.read(tmp_path / "out" / "best.yaml").data
    assert len(losses) == 6
    assert losses[result["best"]["number"]] == min(losses.values())
    assert best["trainer"]["lr"] == result["best"]["params"]["trainer.lr"]
    assert best["adapter"]["r"] == result["best"]["params"]["adapter.r"]
    assert best["data"] == {"path": "rows.jsonl"}
    page = Path(result["report"]).read_text()
    assert page.count("<tr>") == 7
    for title in ("Best so far", "trainer.lr", "adapter.r", "Trials"):
        assert f"<h2>{title}</h2>" in page


def test_a_score_may_be_raised_instead(recipe: Path, tmp_path: Path) -> None:
    own = {"metric": "exact_match", "minimize": False}
    request = asked(recipe, overrides={"evaluation.metrics": ["exact_match"]}, **own)

    result = sweeps.run_sweep(request, tmp_path / "out", train=bowl)

    assert result["best"]["value"] == max(t["value"] for t in result["trials"])


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_stopped_sweep_asks_the_same_questions_as_one_that_was_not(
    sampler: str, recipe: Path, tmp_path: Path
) -> None:
    if sampler == "tpe":
        pytest.importorskip("optuna")
    request = asked(recipe, LR, "adapter.r=4,8,16", sampler=sampler, trials=9, prune=False)
    whole = sweeps.run_sweep(request, tmp_path / "whole", train=bowl)
    begun: list[int] = []

    def dies(*given: Any) -> Mapping[str, Any]:
        begun.append(given[1])
        if given[1] == 7:
            raise KeyboardInterrupt
        return bowl(*given)

    with pytest.raises(Interrupted, match="after 7 trials"):
        sweeps.run_sweep(request, tmp_path / "out", train=dies)
    again = sweeps.run_sweep(request, tmp_path / "out", train=bowl)

    assert begun == [0, 1, 2, 3, 4, 5, 6, 7]
    params = [[t["params"] for t in r["trials"]] for r in (whole, again)]
    assert params[0] == params[1]


def test_the_estimator_looks_where_it_was_good(recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    request = asked(recipe, sampler="tpe", trials=25, prune=False)

    result = sweeps.run_sweep(request, tmp_path / "out", train=bowl)

    later = [math.log10(t["params"]["trainer.lr"]) for t in result["trials"][10:]]
    # random draws over four decades would lie 1 away on average
    assert sum(abs(x + 3) for x in later) / len(later) < 0.6


def test_a_grid_tries_every_combination_once(recipe: Path, tmp_path: Path) -> None:
    request = asked(
        recipe, "trainer.lr=1e-4:1e-2:log:3", "adapter.r=4,8", sampler="grid", trials=None
    )

    result = sweeps.run_sweep(request, tmp_path / "out", train=bowl)

    assert len({json.dumps(t["params"]) for t in result["trials"]}) == len(result["trials"]) == 6


def test_equal_values_are_trained_once(recipe: Path, tmp_path: Path) -> None:
    request = asked(recipe, "trainer.lr=1e-3,1e-2", trials=8)

    result = sweeps.run_sweep(request, tmp_path / "out", train=bowl)

    assert len(result["trials"]) == 8
    assert len(list((tmp_path / "out" / "trials").iterdir())) == 2


def test_a_trial_that_fails_is_told_and_the_others_go_on(recipe: Path, tmp_path: Path) -> None:
    notes: list[str] = []

    def some(request: SweepRequest, number: int, *rest: Any) -> Mapping[str, Any]:
        if number == 2:
            raise DataError("no-rows", "there are no rows")
        if number == 3:
            return {"eval_loss": None}
        return bowl(request, number, *rest)

    result = sweeps.run_sweep(
        asked(recipe), tmp_path / "out", train=some,
        emit=lambda e: notes.append(e.message) if isinstance(e, Note) else None,
    )  # fmt: skip

    assert [t["state"] for t in result["trials"]] == ["complete"] * 2 + ["failed"] * 2 + ["complete"] * 2  # fmt: skip
    assert any("trial 2: failed: there are no rows" in n for n in notes)


def test_a_trial_worse_than_most_is_ended(recipe: Path, tmp_path: Path) -> None:
    values = "trainer.lr=1e-3,1.1e-3,1.2e-3,1.3e-3,1e-1"
    grid = {"sampler": "grid", "trials": None}

    pruned = sweeps.run_sweep(asked(recipe, values, **grid), tmp_path / "a", train=bowl)
    kept = sweeps.run_sweep(asked(recipe, values, prune=False, **grid), tmp_path / "b", train=bowl)

    assert [t["state"] for t in pruned["trials"]] == ["complete"] * 4 + ["pruned"]
    assert list(pruned["trials"][4]["reports"]) == ["1"]
    assert {t["state"] for t in kept["trials"]} == {"complete"}


def test_trials_run_side_by_side_when_asked(recipe: Path, tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=20)

    def wait(*given: Any) -> Mapping[str, Any]:
        together.wait()
        return bowl(*given)

    result = sweeps.run_sweep(asked(recipe, parallel=3), tmp_path / "out", train=wait)

    assert [t["number"] for t in result["trials"]] == list(range(6))


def test_no_trial_begins_after_the_time_is_over(recipe: Path, tmp_path: Path) -> None:
    times = iter([0.0, 1.0, 6.0, 12.0, *[99.0] * 20])

    result = sweeps.run_sweep(
        asked(recipe, timeout_s=10.0), tmp_path / "out", train=bowl, clock=lambda: next(times)
    )

    assert len(result["trials"]) == 2


def test_another_sweep_in_the_same_folder_is_refused(recipe: Path, tmp_path: Path) -> None:
    sweeps.run_sweep(asked(recipe), tmp_path / "out", train=bowl)

    more = sweeps.run_sweep(asked(recipe, trials=8), tmp_path / "out", train=bowl)
    with pytest.raises(ConfigError, match="params differ") as caught:
        sweeps.run_sweep(asked(recipe, "trainer.lr=1e-3,1e-2"), tmp_path / "out", train=bowl)

    assert len(more["trials"]) == 8
    assert caught.value.code == "other-sweep"


def test_bad_is_judged_at_the_same_step_in_both_directions() -> None:
    done = [Trial(i, {}, "complete", 1.0, "", reports={5: float(i)}) for i in range(4)]

    assert samplers.is_hopeless(5, 2.5, done, minimize=True)
    assert not samplers.is_hopeless(5, 1.5, done, minimize=True)
    assert samplers.is_hopeless(5, 0.5, done, minimize=False)
    assert not samplers.is_hopeless(4, 9.0, done, minimize=True)
    assert not samplers.is_hopeless(5, 9.0, done[:3], minimize=True)


@pytest.mark.parametrize("code", ["disk-full", "not-enough-disk"])
def test_a_full_disk_stops_the_sweep_and_is_no_trial_that_failed(
    code: str, recipe: Path, tmp_path: Path
) -> None:
    def fills(*given: Any) -> Mapping[str, Any]:
        if given[1] == 1:
            raise ResourceError(code, "no space left")
        return bowl(*given)

    with pytest.raises(ResourceError, match="after 1 trial; the same command") as caught:
        sweeps.run_sweep(asked(recipe, prune=False), tmp_path / "out", train=fills)
    kept = [t.number for t in sweeps.read_trials(tmp_path / "out")]
    again = sweeps.run_sweep(asked(recipe, prune=False), tmp_path / "out", train=bowl)

    assert caught.value.code == "disk-full"
    assert kept == [0]
    assert [t["state"] for t in again["trials"]] == ["complete"] * 6
