"""A worker that is asked to stop: a halting verb ends where it is, its events stay in order."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

WORKER = """
import sys, time
from pathlib import Path
from stead.core.events import Progress
from stead.core.working import work

def count(emit, busy):
    for i in range(400):
        if busy == "telling":
            emit(Progress(stage="count", done=i))
        else:
            time.sleep(0.05)
        time.sleep(0.005)
    return {"done": True}

raise SystemExit(work(Path(sys.argv[1]), {"count": count, "other": count}, halting=("count",)))
"""


def stopped(folder: Path, verb: str, busy: str) -> tuple[int, list[dict]]:
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps({"verb": verb, "spec": {"busy": busy}}))
    line = [sys.executable, "-c", WORKER, str(folder / "job.json")]
    child = subprocess.Popen(line, env=dict(os.environ))
    while not (folder / ".worker").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    child.send_signal(signal.SIGTERM)
    status = child.wait(30)
    lines = (folder / "events.jsonl").read_text().splitlines()
    return status, [json.loads(one) for one in lines]


def test_a_halting_verb_ends_at_once_and_says_so(tmp_path: Path) -> None:
    for busy in ("silent", "telling"):
        began = time.monotonic()
        status, events = stopped(tmp_path / busy, "count", busy)

        assert (status, events[-1]["event"]) == (130, "failed")
        assert events[-1]["error"]["type"] == "Interrupted"
        assert [e["seq"] for e in events] == list(range(len(events)))
        assert time.monotonic() - began < 15  # the verb itself takes 22 s


def test_another_verb_looks_for_itself(tmp_path: Path) -> None:
    status, events = stopped(tmp_path / "other", "other", "telling")

    assert (status, events[-1]["event"]) == (0, "finished")
