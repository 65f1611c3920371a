"""The wall clock jumps by hours and days under a run, its worker and its follower: nothing is lost (TR8).

Every Python process of the run has a clock that jumps at each look, as `faketime` would make it.
"""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from stead.app import plans, run_folders
from stead.pipeline import stages
from stead.planning.plan import Plan

STEPS = 60
JUMPS = """
import itertools, time
_true, _jumps = time.time, itertools.cycle((0, 3600, -3600, -86400, 0, -3600, 3600))
time.time = lambda: _true() + next(_jumps)
time.time_ns = lambda: int(time.time() * 1e9)
"""
FOLLOW = """
import json, os, signal, sys, time
from pathlib import Path
from stead.app import runs, supervise
from stead.core import lease

assert abs(time.time() - time.time()) > 3000, "the clock does not jump"
out, told, killed = Path(sys.argv[1]), [], []

def watch(event):
    told.append(getattr(event, "code", ""))
    if getattr(event, "stage", "") == "train" and getattr(event, "done", 0) >= 20 and not killed:
        killed.append(lease.holder(out / runs.ALIVE))
        os.kill(killed[0], signal.SIGKILL)

spec = {"plan": json.loads(Path(sys.argv[2]).read_text()), "resume": True}
found = supervise.train(spec, out, watch)
print(json.dumps(found | {"restarts": told.count("restarted"), "adopted": told.count("adopted")}))
"""


def plan_of(model: Path, folder: Path, out: Path) -> dict[str, Any]:
    path = folder / "rows.jsonl"
    rows = [{"question": f"what is {i}?", "answer": f"two plus {i}"} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "model.path": str(model), "data.path": str(path), "data.max_length": 64, "out": str(out),
        "trainer.max_steps": STEPS, "trainer.batch_tokens": 128, "trainer.checkpoint_every": 10,
        "trainer.epochs": 500, "trainer.trackers": [], "trainer.proofs": False, "model.dtype": "fp32",
    }  # fmt: skip
    return plans.make_plan(None, settings).placed(out).to_json()


def test_a_run_under_a_jumping_clock_ends_as_one_that_nobody_touched(
    tiny_model: Path, tmp_path: Path
) -> None:
    """A killed worker is started again once, for its lease was lost, not because a clock said so."""
    torch.set_num_threads(1)  # as OMP_NUM_THREADS says to the worker
    whole, out, plan = tmp_path / "whole", tmp_path / "jumps", tmp_path / "plan.json"
    wanted = stages.run(Plan.from_json(plan_of(tiny_model, tmp_path, whole))).meta
    plan.write_text(json.dumps(plan_of(tiny_model, tmp_path, out)))
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(JUMPS)
    paths = [str(tmp_path / "clock"), *sys.path]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
        "OMP_NUM_THREADS": "1",
    }

    done = subprocess.run(
        [sys.executable, "-c", FOLLOW, str(out), str(plan)],
        capture_output=True, text=True, check=False, env=env, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["restarts"], found["adopted"]) == (1, 0)
    assert found["weights_sha256"] == wanted["weights_sha256"]
    lines = [json.loads(x) for x in (out / "events.jsonl").read_text().splitlines()]
    assert [x["seq"] for x in lines] == list(range(len(lines)))
    assert any(b["time"] < a["time"] - 3000 for a, b in pairwise(lines)), "no jump was written"
    assert run_folders.summary(out).state == "succeeded"
