"""A real training run as a job: submitted, its supervisor killed, paused, resumed; equal to one nobody touched."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from stead.app import plans
from stead.app.jobs import Jobs
from stead.core import lease
from stead.core.errors import ConfigError, UsageError
from stead.core.paths import Home
from stead.pipeline import stages

STEPS = 700


@pytest.fixture
def config(tiny_model, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"question": f"what is {i}?", "answer": f"two plus {i}"} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "model": {"path": str(tiny_model), "dtype": "fp32"}, "data": {"path": str(path), "max_length": 64},
        "trainer": {"max_steps": STEPS, "batch_tokens": 128, "checkpoint_every": 20, "epochs": 500,
                    "trackers": [], "proofs": False},
        "adapter": {"type": "lora", "dropout": 0.1},
    }  # fmt: skip


@pytest.fixture
def jobs(home):
    made = Jobs.open(Home(home).ensure())
    yield made
    made.close()


def supervise():
    command = [sys.executable, "-m", "stead", "jobs", "work", "--lease-s", "1"]
    return subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)


def until(check, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.mark.spec("002-030")
def test_a_run_as_a_job_ends_as_one_that_nobody_touched(jobs, config, tmp_path):
    torch.set_num_threads(1)  # as OMP_NUM_THREADS says to workers
    whole = plans.make_plan(config).placed(tmp_path / "whole")
    wanted = stages.run(whole).meta
    crew = [supervise()]
    try:
        job = jobs.submit(
            "run", {"config": config, "name": "mine", "tags": ["t"]}, idempotency_key="k"
        )
        assert (
            jobs.submit(
                "run", {"config": config, "name": "mine", "tags": ["t"]}, idempotency_key="k"
            )
            == job
        )
        with pytest.raises(UsageError, match="another request"):
            jobs.submit("run", {"config": config}, idempotency_key="k")
        run = job.run
        until(lambda: jobs.stores.runs.get(run).step >= 5)
        crew[0].kill()
        crew.append(supervise())
        until(lambda: jobs.get(job.id).attempt == 2)
        jobs.pause(job.id)
        until(lambda: jobs.get(job.id).state in ("paused", "succeeded"))
        assert jobs.stores.runs.get(run).step < STEPS
        jobs.resume(job.id)
        done = until(lambda: (j := jobs.get(job.id)).is_over and j)
        crew[1].send_signal(signal.SIGTERM)
        assert crew[1].wait(10) == 0
    finally:
        for one in crew:
            one.kill()
            one.wait()
        for folder in jobs.home.runs.glob("*"):
            pid = lease.holder(folder / ".worker")
            if pid:
                psutil.Process(pid).kill()

    assert (done.state, done.error, done.starts) == ("succeeded", None, 2)
    assert done.result["weights_sha256"] == wanted["weights_sha256"]
    found = jobs.stores.runs.metrics(run, ["loss"], points=10**6)
    lines = [json.loads(x) for x in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert found.steps == [x["step"] for x in lines]
    assert found.series["loss"] == pytest.approx([x["loss"] for x in lines], rel=1e-6)  # float32
    numbers = [e.number for e in jobs.stores.runs.events_after(run, limit=10**6)]
    assert numbers == list(range(len(numbers)))
    row = jobs.stores.runs.get(run)
    assert (row.name, row.tags, row.state, row.step, row.steps) == (
        "mine",
        ["t"],
        "succeeded",
        STEPS,
        STEPS,
    )
    assert Path(row.out, "final").is_dir()


def test_what_cannot_work_is_refused_at_once(jobs, config):
    for kind, spec, code in (
        ("rum", {}, "unknown-job-kind"),
        ("run", {"config": config | {"model": {"path": "nowhere"}}}, None),
        ("run", {"confg": {}}, "unknown-key"),
        ("evaluation", {"model": "m", "data": "d", "metrics": ["nonsense"]}, None),
        ("export", {"format": "gguf"}, "missing-key"),
        ("download", {"name": "x"}, "missing-key"),
    ):
        with pytest.raises(UsageError) as caught:
            jobs.submit(kind, spec)
        assert code is None or caught.value.code == code
    assert jobs.list().total == 0
    assert isinstance(caught.value, ConfigError)
