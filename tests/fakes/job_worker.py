"""A worker that counts: small, quick to start, killed and stopped like a real one. `python job_worker.py job.json`."""

import os
import signal
import sys
import time
from pathlib import Path

from stead.core.errors import Interrupted, TrainingError
from stead.core.events import Progress, Started
from stead.core.process import stop_requested
from stead.core.working import work


def train(emit, folder, steps=5, pause_s=0.0, die_at=None, fail_at=None):
    """Count to `steps`, one file per step as its only memory."""
    kept = Path(folder) / "steps"
    kept.mkdir(parents=True, exist_ok=True)
    first = len(list(kept.iterdir())) + 1
    emit(Started(stage="train", total=steps))
    for step in range(first, steps + 1):
        if step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == fail_at:
            raise TrainingError("planted", "as planned")
        time.sleep(pause_s)
        emit(Progress(stage="train", done=step, values={"loss": 1.0 / step, "tokens": step}))
        (kept / str(step)).touch()
        if stop_requested.is_set():
            raise Interrupted("interrupted", f"after step {step} of {steps}")
    return {"steps": steps, "pid": os.getpid()}


if __name__ == "__main__":
    raise SystemExit(work(Path(sys.argv[1]), {"train": train}))
