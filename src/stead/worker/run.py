"""The worker program: `python -m stead.worker.run job.json` runs one verb of the pipeline.

Knows nothing about who started it. Events go to events.jsonl beside the job; SIGTERM raises
Interrupted at the next safe point of the verb, a second one ends the process at once. It holds the
lease `.worker` beside the job, so that whoever comes later knows that it lives.
"""

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from stead.core import files, lease
from stead.core.errors import Interrupted, SteadError
from stead.core.events import Emit, EventLog, Failed, Finished, ignore
from stead.core.process import stop_requested
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
    leads = os.environ.get("RANK", "0") == "0"  # torchrun's number of this process
    if not leads:
        return _run(job_path, leads=False)
    with lease.held(job_path.parent / ".worker") as mine:  # by it others see that this run is alive
        if mine:
            return _run(job_path, leads=True)
    sys.stderr.write("another worker is at work here\n")  # its events are not ours to write
    return _HELD


def _run(job_path: Path, *, leads: bool) -> int:
    job = files.read_json(job_path)
    verb = job["verb"]
    log: Emit = EventLog(job_path.parent / "events.jsonl") if leads else ignore
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
