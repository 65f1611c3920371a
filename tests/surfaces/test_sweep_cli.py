"""`stead sweep` as a user types it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stead.core.errors import ConfigError

Stead = Callable[..., tuple[int, str, str]]


@pytest.fixture
def common(tiny_model: Path, tmp_path: Path) -> list[object]:
    path = tmp_path / "rows.jsonl"
    lines = [{"question": f"what is {i} plus {i}?", "answer": f"it is {2 * i}"} for i in range(20)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ["--model", tiny_model, "--data", path, "--max-steps", 2, "--dtype", "fp32",
            "-s", "trainer.trackers=[]", "--sampler", "grid"]  # fmt: skip


def test_trials_are_runs_and_the_best_recipe_is_written(
    common: list[object], tmp_path: Path, stead: Stead
) -> None:
    out = tmp_path / "sweep"

    done = stead("sweep", *common, "-p", "trainer.lr=0.0,0.01", "--out", out, "--json")
    listed = stead("runs", "list", "--json")
    planned = stead("plan", out / "best.yaml", "--json")

    assert done[0] == 0, done[2]
    result = json.loads(done[1].splitlines()[-1])
    assert result["best"]["params"] == {"trainer.lr": 0.01}  # 0 is a value, and learns nothing
    assert len(result["trials"]) == 2
    names = {r["name"] for r in json.loads(listed[1])["runs"]}
    assert names == {"sweep-0", "sweep-1"}
    assert json.loads(planned[1])["config"]["trainer"]["lr"] == 0.01


def test_a_dry_run_trains_nothing_and_bad_input_is_told(
    common: list[object], tmp_path: Path, stead: Stead
) -> None:
    dry = stead("sweep", *common, "-p", "adapter.r=4,8", "--dry-run", "--json")
    wrong = stead("sweep", *common, "-p", "adapter.rr=4,8", "--out", tmp_path / "x")
    nowhere = stead("sweep", *common, "-p", "adapter.r=4,8")

    assert json.loads(dry[1]) == {"trials": 2, "first": [{"adapter.r": 4}, {"adapter.r": 8}]}
    assert (wrong[0], nowhere[0]) == (2, 2)
    assert "there is no key 'adapter.rr'; did you mean 'adapter.r'?" in wrong[2]
    assert "a sweep needs a folder" in nowhere[2]
    assert not (tmp_path / "x").exists()


def test_python_checks_a_sweep_the_same_way(tiny_model: Path, tmp_path: Path) -> None:
    import stead

    with pytest.raises(ConfigError, match=r"did you mean 'adapter\.r'"):
        stead.sweep(model=str(tiny_model), data="rows.jsonl", params=["adapter.rr=4"], out=tmp_path)
