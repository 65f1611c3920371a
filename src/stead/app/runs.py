"""Use cases of runs: start a worker for one verb of the pipeline, follow it, return its result.

Knows nothing about training or models; the worker is a process of its own, so that the command line
and the server stay light and a run survives them: who comes next adopts it.
"""

import os
import shlex
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from stead.config.kinds import registry
from stead.core import files, lease, process
from stead.core.errors import Interrupted, ProcessError, TrainingError, from_dict
from stead.core.events import (
    AnyEvent,
    Emit,
    Failed,
    Finished,
    Note,
    Progress,
    Started,
    complete,
    follow,
    ignore,
)
from stead.core.working import HELD
from stead.launch.launcher import WORKER, Launcher, LaunchSettings

JOB = "job.json"
EVENTS = "events.jsonl"
LOG = "worker.log"
ALIVE = ".worker"  # held by the worker as long as it lives
FOLLOWER = ".follower"  # held by whoever started or adopted it
_TRACKERS = ("WANDB_", "MLFLOW_")  # a tracker's own variables say where it writes
_POLL_S = 0.05
_GRACE_S = 30.0
_PATIENCE_S = 600.0  # for the step that is being made when a stop is asked for


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

    `folder` gets job.json, events.jsonl and worker.log; events go to `emit` as they happen. A worker
    that lives there already, because who followed it was killed, is adopted when `spec` says resume.
    `where.step_timeout_s`: a worker that reported a step and then says nothing for so long is killed.
    Raises: the worker's own error, rebuilt; ProcessError("worker-died") when it ended without one;
    TrainingError("run-held") when somebody else follows it; Interrupted after Ctrl-C or SIGTERM, once the worker
    has saved and stopped (a second one stops it at once).
    """
    argv = command(folder / JOB, where)  # first: what is refused leaves no folder
    files.make_folder(folder)
    with _following(folder), _stoppable():
        followed = _Followed(verb, folder, emit, None if where is None else where.step_timeout_s)
        child = _adopt(verb, spec, folder, emit)
        if child is None:
            files.write_json(folder / JOB, {"verb": verb, "spec": spec})
            child = process.spawn(argv, name=f"worker {verb}", log=folder / LOG, env=environment)
        try:
            return followed.until_end(child)
        except KeyboardInterrupt as error:
            return _stop(child, followed, folder, error)
        finally:
            child.stop()


def train(
    spec: dict[str, Any],  # Any: JSON arguments of the verb
    folder: Path,
    emit: Emit = ignore,
    where: LaunchSettings | None = None,
) -> dict[str, Any]:
    """Train in a worker that knows where our trackers write: `launch` with their variables."""
    return launch("train", spec, folder, emit, tracker_variables(), where)


def tracker_variables() -> dict[str, str]:
    """Return the variables that our trackers' libraries read."""
    return {k: v for k, v in os.environ.items() if k.startswith(_TRACKERS)}


def command(job: Path, where: LaunchSettings | None) -> list[str]:
    """Return the worker's argv; one plain process unless a recipe says where it runs."""
    if where is None:
        return process.python(WORKER, str(job))
    launcher: Launcher = registry("launcher").create(where.type)
    return launcher.command(job, where)


@contextmanager
def _following(folder: Path) -> Iterator[None]:
    with lease.held(folder / FOLLOWER) as mine:
        if not mine:
            raise _busy(folder, lease.holder(folder / FOLLOWER))
        yield


def _busy(folder: Path, pid: int | None) -> TrainingError:
    return TrainingError(
        "run-held",
        f"process {pid} is working in {str(folder)!r}",
        hint=f"stead runs follow {folder}",
    )


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: a preempted run is saved."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _adopt(
    verb: str, spec: dict[str, Any], folder: Path, emit: Emit
) -> "process.Child | process.Adopted | None":
    pid = lease.holder(folder / ALIVE)
    if pid is None:
        return None
    if not spec.get("resume"):
        raise _busy(folder, pid)
    emit(Note(stage=verb, code="adopted",
              message=f"process {pid} is still at work on this run; following it"))  # fmt: skip
    return process.Adopted(folder / ALIVE, f"worker {verb}")


def _stop(
    child: "process.Child | process.Adopted",
    followed: "_Followed",
    folder: Path,
    error: BaseException,
) -> dict[str, Any]:
    """Let the worker save and stop; a second Ctrl-C, or the end of our patience, ends it at once."""
    followed.emit(Note(stage=followed.verb, code="stopping",
                       message="stopping after this step; once more stops at once"))  # fmt: skip
    status: int | None = None
    child.signal(signal.SIGTERM)
    with suppress(KeyboardInterrupt):  # the second one
        status = child.wait(_PATIENCE_S)
    if status is not None:
        followed.read()  # raises the worker's own Interrupted, which names the step
        if followed.result is not None:
            return followed.result
    again = f"stead runs resume {shlex.quote(str(folder))}" if followed.verb == "train" else None
    raise Interrupted(
        "interrupted", f"stead {followed.verb} was stopped; what it saved stays", hint=again
    ) from error


class _Followed:
    """The events of one worker, read as they come."""

    def __init__(self, verb: str, folder: Path, emit: Emit, silence_s: float | None) -> None:
        self.verb, self.emit = verb, emit
        self.result: dict[str, Any] | None = None
        self._path, self._log, self._silence_s = folder / EVENTS, folder / LOG, silence_s
        self._offset = complete(self._path)
        self._total: int | None = None
        self._heard: float | None = None  # when a step was last reported, by the monotonic clock

    def until_end(self, child: "process.Child | process.Adopted") -> dict[str, Any]:
        """Tail the events until the verb's own end event, or the child's death."""
        while True:
            status = child.poll()  # asked before reading: the last lines are then complete
            try:
                self.read()
            except Exception:  # house: broad-except - let the worker end before its error is told
                child.wait(_GRACE_S)
                raise
            if self.result is not None:
                child.wait(_GRACE_S)
                return self.result
            if status is not None:
                raise self._died(status)
            self._listen(child)
            time.sleep(_POLL_S)

    def read(self) -> None:
        """Tell what is new. Raises: the worker's own error."""
        for end, event in follow(self._path, self._offset):
            self._offset = end
            self._hear(event)
            self.emit(event)
            if event.stage != self.verb:
                continue
            if isinstance(event, Finished):
                self.result = event.result
            elif isinstance(event, Failed):
                raise from_dict(event.error)

    def _hear(self, event: AnyEvent) -> None:
        if isinstance(event, Started) and event.stage == self.verb:
            self._total = event.total
        if event.stage != self.verb:
            self._heard = None  # another stage: evaluation, export
        elif isinstance(event, Progress):  # after the last step comes what has no steps
            self._heard = None if event.done == self._total else time.monotonic()
        elif self._heard is not None:
            self._heard = time.monotonic()

    def _listen(self, child: "process.Child | process.Adopted") -> None:
        if self._silence_s is None or self._heard is None:
            return
        if time.monotonic() - self._heard > self._silence_s:
            self._heard = None
            self.emit(Note(stage=self.verb, level="warning", code="hang",
                           message=f"no step for {self._silence_s:g} s: the worker hangs and is killed"))  # fmt: skip
            child.signal(signal.SIGKILL)

    def _died(self, status: int) -> ProcessError | TrainingError:
        if status == HELD:
            return _busy(self._path.parent, lease.holder(self._path.parent / ALIVE))
        log = self._log
        tail = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return ProcessError(
            "worker-died",
            f"the {self.verb} worker ended with {how}; last words: {' | '.join(tail) or '(none)'}",
            hint=f"tail -n 40 {log}",
            status=status,
        )
