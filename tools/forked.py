"""`stead …` as forks of one process that has imported all that is heavy: a start costs a fork, not three seconds.

For campaigns that start it hundreds of times. What a fork runs is what `python -m stead` and
`python -m stead.worker.run` run, in sessions and with logs as `core/process` gives them; it knows nothing else.
"""

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Forked:
    """A forked child with the methods of `subprocess.Popen` that are used here."""

    stdin = None

    def __init__(self, work: Callable[[], int | None], log: Path | None) -> None:
        sys.stdout.flush()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(_live(work, log))

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises: subprocess.TimeoutExpired."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("fork", timeout or 0.0)
            time.sleep(0.01)
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def _live(work: Callable[[], int | None], log: Path | None) -> int:
    """Be a program of its own: session, output, no files of the parent; return the status."""
    status: int | None = 1
    try:
        os.setsid()
        out = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for number in (1, 2):
            os.dup2(out, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.closerange(3, 1024)  # a lease that is held by the parent is not ours
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        status = work()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status or 0


def warm() -> None:
    """Import what a run needs, compute nothing: threads, and torch's pool of them, are lost in a fork."""
    import torch  # noqa: F401
    import transformers  # noqa: F401

    import stead.app.supervise
    import stead.cli.commands.train
    import stead.cli.main
    import stead.pipeline.verbs  # noqa: F401
    from stead.config.kinds import registry

    for kind in ("method", "adapter", "optimizer", "callback", "launcher", "tracker", "trainer"):
        for name in registry(kind).names():
            registry(kind).get(name)


def start(arguments: list[str], log: Path) -> Forked:
    """Start `stead <arguments>`; its workers are forks as well."""

    def work() -> None:
        from stead.cli.main import run
        from stead.core import process

        process.spawn = _spawn  # type: ignore[assignment] # in this child only
        run(arguments)

    return Forked(work, log)


def _spawn(argv: list[str], *, name: str, log: Path | None = None, **_: Any) -> Any:
    from stead.core import process, working
    from stead.launch.launcher import WORKER

    def work() -> int:
        from stead.pipeline.verbs import VERBS

        return working.work(Path(argv[-1]), VERBS, halting=("export",))

    if argv[1:3] != ["-m", WORKER]:
        raise RuntimeError(f"not a plain worker: {argv}")
    return process.Child(Forked(work, log), name)  # type: ignore[arg-type] # quacks like Popen
