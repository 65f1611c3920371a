"""`stead sweep` as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def stead(*arguments: object) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "stead", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture
def common(tiny_model: Path, tmp_path: Path) -> list[object]:
    path = tmp_path / "rows.jsonl"
    lines = [{"question": f"what is {i} plus {i}?", "answer": f"it is {2 * i}"} for i in range(20)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ["--model", tiny_model, "--data", path, "--max-steps", 2, "--dtype", "fp32",
            "-s", "trainer.trackers=[]", "--sampler", "grid"]  # fmt: skip


def test_trials_are_runs_and_the_best_recipe_is_written(
    common: list[object], tmp_path: Path
) -> None:
    out = tmp_path / "sweep"

    done = stead("sweep", *common, "-p", "trainer.lr=0.0,0.01", "--out", out, "--json")
    listed = stead("runs", "list", "--json")
    planned = stead("plan", out / "best.yaml", "--json")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["best"]["params"] == {"trainer.lr": 0.01}  # 0 is a value, and learns nothing
    assert len(result["trials"]) == 2
    names = {r["name"] for r in json.loads(listed.stdout)["runs"]}
    assert names == {"sweep-0", "sweep-1"}
    assert json.loads(planned.stdout)["config"]["trainer"]["lr"] == 0.01


def test_a_dry_run_trains_nothing_and_bad_input_is_told(
    common: list[object], tmp_path: Path
) -> None:
    dry = stead("sweep", *common, "-p", "adapter.r=4,8", "--dry-run", "--json")
    wrong = stead("sweep", *common, "-p", "adapter.rr=4,8", "--out", tmp_path / "x")
    nowhere = stead("sweep", *common, "-p", "adapter.r=4,8")

    assert json.loads(dry.stdout) == {"trials": 2, "first": [{"adapter.r": 4}, {"adapter.r": 8}]}
    assert (wrong.returncode, nowhere.returncode) == (2, 2)
    assert "there is no key 'adapter.rr'; did you mean 'adapter.r'?" in wrong.stderr
    assert "a sweep needs a folder" in nowhere.stderr
    assert not (tmp_path / "x").exists()
