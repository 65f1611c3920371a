"""What every worker program does around its verb: hold the lease, hear signals, write events, tell errors.

Knows nothing about verbs. `job.json` says {"verb", "spec"}; events go to events.jsonl beside it. SIGTERM sets
`stop_requested`, which long loops turn into Interrupted at a safe point; a second one ends the process at once.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from stead.core import files, lease
from stead.core.errors import Interrupted, ResourceError, SteadError, not_allowed
from stead.core.events import AnyEvent, Emit, EventLog, Failed, Finished, Progress, Started, ignore
from stead.core.process import stop_requested

HELD = 75  # EX_TEMPFAIL of sysexits.h: another worker is at work here
Verbs = Mapping[str, Callable[..., dict[str, Any]]]  # Any: JSON arguments and results


class _Halting:
    """Ends a verb at once where it is, but not while an event is written. One per process."""

    def __init__(self) -> None:
        self.is_on = False
        self._log: Emit = ignore

    def around(self, log: Emit) -> Emit:
        """Return `log` that lets a stop wait until an event is written."""
        if stop_requested.is_set():
            raise _stopped()
        self._log, self.is_on = log, True
        return self._tell

    def _tell(self, event: AnyEvent) -> None:
        self.is_on = False
        self._log(event)
        self.is_on = True
        if stop_requested.is_set() and isinstance(event, Started | Progress):
            raise _stopped()


_HALTING = _Halting()


def _stopped() -> Interrupted:
    return Interrupted("interrupted", "the work was stopped; nothing half-made is left")


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    if stop_requested.is_set():
        os._exit(Interrupted.exit_status)
    stop_requested.set()
    if _HALTING.is_on:
        raise _stopped()


def work(job_path: Path, verbs: Verbs, halting: Collection[str] = ()) -> int:
    """Run the job under the lease `.worker` beside it; return the exit status.

    `halting` verbs are ended wherever they are: what they leave is whole or absent, as after a kill.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _on_signal)
    leads = os.environ.get("RANK", "0") == "0"  # torchrun's number of this process
    if not leads:
        return _run(job_path, verbs, halting, leads=False)
    with lease.held(job_path.parent / ".worker") as mine:  # by it others see that this run is alive
        if mine:
            return _run(job_path, verbs, halting, leads=True)
    sys.stderr.write("another worker is at work here\n")  # its events are not ours to write
    return HELD


def _run(job_path: Path, verbs: Verbs, halting: Collection[str], *, leads: bool) -> int:
    job = files.read_json(job_path)
    verb = job["verb"]
    log: Emit = EventLog(job_path.parent / "events.jsonl") if leads else ignore
    try:
        emit = _HALTING.around(log) if verb in halting else log
        try:
            result = verbs[verb](**job["spec"], emit=emit)
        finally:
            _HALTING.is_on = False
    except SteadError as error:
        log(Failed(stage=verb, error=error.to_dict()))
        return error.exit_status
    except PermissionError as error:
        log(Failed(stage=verb, error=not_allowed(error).to_dict()))
        return ResourceError.exit_status
    except Exception as error:  # house: broad-except - a process's entry: the parent is told
        traceback.print_exc()
        fault = SteadError("internal", f"{type(error).__name__}: {error}")
        log(Failed(stage=verb, error=fault.to_dict()))
        return 1
    log(Finished(stage=verb, result=result))
    return 0
