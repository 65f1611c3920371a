"""The worker program: `python -m stead.worker.run job.json` runs one verb of the pipeline.

Knows nothing about who started it. Events go to events.jsonl beside the job; SIGTERM raises
Interrupted at the next safe point of the verb, a second one ends the process at once. It holds the
lock `.worker` beside the job, so that whoever comes later knows that it lives.
"""

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from stead.core import files
from stead.core.errors import Interrupted, ProcessError, SteadError
from stead.core.events import EventLog, Failed, Finished
from stead.core.process import held, stop_requested
from stead.pipeline.verbs import VERBS


_HELD = 75  # EX_TEMPFAIL of sysexits.h: another worker is at work here


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    if stop_requested.is_set():
        os._exit(Interrupted.exit_status)
    stop_requested.set()


def main(job_path: Path) -> int:
    """Run the job; return the exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _on_signal)
    try:
        with held(job_path.parent / ".worker"):
            return _run(job_path)
    except ProcessError as error:  # nobody may write into the events of the other one
        sys.stderr.write(f"{error.message}\n")
        return _HELD


def _run(job_path: Path) -> int:
    job = files.read_json(job_path)
    verb = job["verb"]
    log = EventLog(job_path.parent / "events.jsonl")
    try:
        result = VERBS[verb](**job["spec"], emit=log)
    except SteadError as error:
        log(Failed(stage=verb, error=error.to_dict()))
        return error.exit_status
    except Exception as error:  # the process's entry: every fault becomes an event
        traceback.print_exc()
        fault = SteadError("internal", f"{type(error).__name__}: {error}")
        log(Failed(stage=verb, error=fault.to_dict()))
        return 1
    log(Finished(stage=verb, result=result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
