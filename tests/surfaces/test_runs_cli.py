"""`stead runs` as a user types it, on a run that lives in another process."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stead.app import run_control, run_folders, runs
from stead.core.errors import TrainingError


def argv(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "stead", *map(str, arguments)]


Stead = Callable[..., tuple[int, str, str]]


def last(done: tuple[int, str, str]) -> dict:
    assert done[0] == 0, done[2]
    return json.loads(done[1].splitlines()[-1])


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"question": f"what is {i} plus {i}?", "answer": f"it is {2 * i}"} for i in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.spec("001-011")
def test_a_run_is_followed_cancelled_and_resumed(
    tiny_model: Path, rows: Path, tmp_path: Path, stead: Stead
) -> None:
    out = tmp_path / "run"
    line = argv("train", "--model", tiny_model, "--data", rows, "--out", out, "--name", "sums", "--epochs", 999,
                "--max-steps", 100, "--dtype", "fp32", "-s", "trainer.trackers=[]", "-s", "trainer.eval_every=50")  # fmt: skip
    training = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while training.poll() is None and (not out.is_dir() or run_folders.summary(out).step < 2):
        time.sleep(0.01)

    before = run_folders.summary(out)
    with pytest.raises(TrainingError, match="is working in"):
        runs.launch("train", {}, out)
    cancelled = run_control.cancel(out, 60)
    _, error = training.communicate(timeout=60)
    listed = last(stead("runs", "list", "--json"))["runs"]
    refused = stead("runs", "resume", "sums", "--resume-level", "roughly")
    resumed = last(stead("runs", "resume", "sums", "--resume-level", "exact", "--json"))
    followed = stead("runs", "follow", out, "--json")
    shown = last(stead("runs", "show", "run", "--json"))
    told = stead("runs", "show", "nothing")

    assert refused[0] == 2
    assert "same-order" in refused[2]
    assert before.state == "running"
    assert before.total == 100
    assert cancelled.state == "interrupted"
    assert 2 <= cancelled.step < 100
    saved = sorted((out / "checkpoints").glob("step-*"))[-1].name
    assert training.returncode == 130, error.decode()
    assert [(r["id"], r["name"], r["state"], r["step"]) for r in listed] == [
        ("run", "sums", "interrupted", cancelled.step)
    ]
    assert f"after step {cancelled.step} of 100" in listed[0]["reason"]
    assert resumed["steps"] == 100
    assert resumed["resume_level"] == "exact"
    page = Path(resumed["report"]).read_text()
    for title in (
        "Loss",
        "Learning rate",
        "Gradient norm",
        "Speed",
        "Forecast against actual",
    ):
        assert f"<h2>{title}</h2>" in page
    assert page.count("<polyline") == 5  # training and held-out loss share a chart
    assert "<script" not in page
    assert last(followed)["state"] == "succeeded"
    assert f"resumed after step {cancelled.step}" in followed[2]
    assert shown["result"]["final_loss"] == resumed["final_loss"]
    assert saved.startswith("step-")
    assert told[0] == 2
    assert "hint: stead runs list" in told[2]
