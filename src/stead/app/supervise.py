"""Use case "train without watching": a worker that is killed is started again and resumes by itself.

Knows nothing about training. A run goes on as long as it gains steps; after five restarts without a
new one it is given up, because whatever kills it will kill it again.
"""

from pathlib import Path
from typing import Any

from stead.app import runs
from stead.core.errors import ProcessError
from stead.core.events import AnyEvent, Emit, Note, Progress, Saved, ignore
from stead.launch.launcher import LaunchSettings

RESTARTS = 5


class _Gain:
    """Passes events on and remembers whether the run moved."""

    def __init__(self, emit: Emit) -> None:
        self._emit, self._best, self.moved = emit, -1, False

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Progress) and event.stage == "train" and event.done > self._best:
            self._best, self.moved = event.done, True
        elif isinstance(event, Saved) and event.what == "checkpoint":
            self.moved = True
        self._emit(event)


def train(
    spec: dict[str, Any],  # Any: JSON arguments of the verb "train"
    folder: Path,
    emit: Emit = ignore,
    where: LaunchSettings | None = None,
) -> dict[str, Any]:
    """Run the verb "train" until it ends by itself; a killed worker is started again.

    Raises: what `runs.train` raises; ProcessError("worker-keeps-dying") when no step is gained.
    """
    gain, lost = _Gain(emit), 0
    while True:
        try:
            return runs.train(spec, folder, gain, where)
        except ProcessError as error:
            if error.code != "worker-died" or not _was_killed(error.details["status"], where):
                raise
            lost = 1 if gain.moved else lost + 1
            gain.moved = False
            if lost > RESTARTS:
                raise ProcessError(
                    "worker-keeps-dying",
                    f"{error.message}; it was started {RESTARTS} times without gaining a step",
                    hint=error.hint,
                    **error.details,
                ) from error
            status = error.details["status"]
        emit(Note(stage="train", level="warning", code="restarted", message=_told(status)))
        spec = spec | {"resume": spec["resume"] if isinstance(spec["resume"], str) else True}


def _was_killed(status: int, where: LaunchSettings | None) -> bool:
    """Say whether a worker ended without having its say; one of several ends its launcher with 1."""
    return status < 0 or (where is not None and where.processes > 1 and status == 1)


def _told(status: int) -> str:
    if status > 0:
        return "one of the worker's processes ended; all are started again and resume"
    why = " (by the system, perhaps: memory ran out)" if status == -9 else ""
    return f"the worker was killed by signal {-status}{why}; it is started again and resumes"
