"""Use cases of runs: start a worker for one verb of the pipeline, follow it, return its result.

Knows nothing about training or models; the worker is a process of its own, so that the command line
and the server stay light and a run survives them.
"""

import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stead.config.kinds import registry
from stead.core import files, lease, process
from stead.core.errors import Interrupted, ProcessError, TrainingError, from_dict
from stead.core.events import AnyEvent, Emit, Failed, Finished, follow, ignore
from stead.launch.launcher import WORKER, Launcher, LaunchSettings

JOB = "job.json"
EVENTS = "events.jsonl"
LOG = "worker.log"
ALIVE = ".worker"  # held by the worker as long as it lives
_TRACKERS = ("WANDB_", "MLFLOW_")  # a tracker's own variables say where it writes
_POLL_S = 0.05
_GRACE_S = 30.0


def new_id(verb: str) -> str:
    """Return a fresh run id that sorts by time."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{verb}-{uuid.uuid4().hex[:6]}"


def launch(
    verb: str,
    spec: dict[str, Any],  # Any: JSON arguments of the verb
    folder: Path,
    emit: Emit = ignore,
    environment: dict[str, str] | None = None,
    where: LaunchSettings | None = None,
) -> dict[str, Any]:
    """Run `pipeline.<verb>(**spec)` in a worker process and return its result.

    `folder` gets job.json, events.jsonl and worker.log; events go to `emit` as they happen.
    Raises: TrainingError("run-held") when another worker is there; the worker's own error, rebuilt;
    ProcessError("worker-died") when it ended without one; Interrupted after Ctrl-C, once the worker
    has saved and stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busy = lease.holder(folder / ALIVE)
    if busy is not None:
        raise TrainingError(
            "run-held",
            f"process {busy} is working in {str(folder)!r}",
            hint=f"stead runs follow {folder}",
        )
    files.write_json(folder / JOB, {"verb": verb, "spec": spec})
    events = folder / EVENTS
    offset = events.stat().st_size if events.exists() else 0
    child = process.spawn(
        _command(folder / JOB, where),
        name=f"worker {verb}",
        log=folder / LOG,
        env=environment,
    )
    try:
        return _follow(child, verb, events, offset, emit)
    except KeyboardInterrupt as error:
        child.signal(signal.SIGTERM)
        child.wait(_GRACE_S)
        child.stop()
        raise Interrupted("interrupted", f"the {verb} was stopped; what it saved stays") from error
    finally:
        child.stop()


def train(
    spec: dict[str, Any],  # Any: JSON arguments of the verb
    folder: Path,
    emit: Emit = ignore,
    where: LaunchSettings | None = None,
) -> dict[str, Any]:
    """Train in a worker that knows where our trackers write: `launch` with their variables."""
    found = {k: v for k, v in os.environ.items() if k.startswith(_TRACKERS)}
    return launch("train", spec, folder, emit, found, where)


def _command(job: Path, where: LaunchSettings | None) -> list[str]:
    """Return the worker's argv; one plain process unless a recipe says where it runs."""
    if where is None:
        return process.python(WORKER, str(job))
    launcher: Launcher = registry("launcher").create(where.type)
    return launcher.command(job, where)


def _follow(
    child: process.Child, verb: str, events: Path, offset: int, emit: Callable[[AnyEvent], None]
) -> dict[str, Any]:
    """Tail the events until the verb's own end event, or the child's death."""
    while True:
        ended = child.poll() is not None  # asked before reading: the last lines are then complete
        for end, event in follow(events, offset):
            offset = end
            emit(event)
            if event.stage != verb:
                continue
            if isinstance(event, Finished):
                child.wait(_GRACE_S)
                return event.result
            if isinstance(event, Failed):
                child.wait(_GRACE_S)
                raise from_dict(event.error)
        if ended:
            raise _died(child, verb, events.parent / LOG)
        time.sleep(_POLL_S)


def _died(child: process.Child, verb: str, log: Path) -> ProcessError:
    status = child.poll()
    tail = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
    how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
    return ProcessError(
        "worker-died",
        f"the {verb} worker ended with {how}; last words: {' | '.join(tail) or '(none)'}",
        hint=f"tail -n 40 {log}",
        status=status,
    )
