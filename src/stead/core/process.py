"""Child processes in their own group: start, watch, stop gently, then for good.

Knows nothing about what the children do. The only door to `subprocess`.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stead.core import lease
from stead.core.errors import ProcessError

_PASSED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT",
    "HF_HUB_CACHE", "HF_TOKEN", "HUGGINGFACE_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_DISABLE_XET",
    "HF_HUB_DOWNLOAD_TIMEOUT", "STEAD_HOME", "SSL_CERT_FILE", "XDG_CACHE_HOME", "COVERAGE_PROCESS_START",
)  # fmt: skip


@dataclass(slots=True)
class Child:
    """A running child that leads its own process group."""

    process: "subprocess.Popen[bytes]"
    name: str

    @property
    def pid(self) -> int:
        """Process id, which is also the group's id."""
        return self.process.pid

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self.process.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end; return the exit status, or None when the time ran out first."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group; a group that is gone is no error."""
        signal_group(self.pid, number)

    def stop(self, grace_s: float = 10.0) -> int:
        """SIGTERM the group, wait `grace_s`, SIGKILL what is left; return the exit status."""
        if self.poll() is None:
            self.signal(signal.SIGTERM)
            if self.wait(grace_s) is None:
                self.signal(signal.SIGKILL)
        status = self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        return status


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to the group that process `pid` leads; a group that is gone is no error."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the allow-listed environment for a child, plus `extra`; STEAD_* always travels."""
    kept = {k: v for k, v in os.environ.items() if k in _PASSED or k.startswith("STEAD_")}
    return kept | dict(extra or {})


def spawn(
    argv: Sequence[str],
    *,
    name: str,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    tie: bytes | None = None,
    inherit: bool = False,
) -> Child:
    """Start `argv` in a new process group, its output appended to `log` (or dropped).

    `env` is added to the allow-listed environment. `tie` is written to the child's stdin, which then
    stays open as long as this process lives: secrets travel in no file, argument or environment, and
    end-of-file tells the child that its parent is gone, however it went. With `inherit` its output goes
    where ours goes.
    Raises: ProcessError("no-start").
    """
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    dropped = None if inherit else subprocess.DEVNULL
    out = open(log, "ab") if log is not None else dropped  # noqa: SIM115
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if tie is None else subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(env),
            start_new_session=True,
        )
    except OSError as error:
        raise ProcessError("no-start", f"cannot start {argv[0]!r}: {error.strerror}") from error
    finally:
        if out is not None and not isinstance(out, int):
            out.close()
    if process.stdin is not None and tie is not None:
        _write_tie(process, tie, argv[0])
    return Child(process, name)


def converse(argv: Sequence[str], *, name: str, env: Mapping[str, str] | None = None) -> Child:
    """Start `argv` in a new process group with pipes: `child.process.stdin` to write, `stdout` to read.

    Its stderr goes where ours goes. Raises: ProcessError("no-start").
    """
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(env),
            start_new_session=True,
        )
    except OSError as error:
        raise ProcessError("no-start", f"cannot start {argv[0]!r}: {error.strerror}") from error
    return Child(process, name)


def output(argv: Sequence[str], timeout_s: float = 10.0) -> str | None:
    """Run a short program and return its stdout, or None when it is absent, fails or hangs."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            env=environment(),
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def _write_tie(process: "subprocess.Popen[bytes]", tie: bytes, program: str) -> None:
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    try:
        process.stdin.write(tie)
        process.stdin.flush()
    except OSError as error:
        process.kill()
        process.wait()
        raise ProcessError("no-start", f"{program!r} ended at once: {error.strerror}") from error


def python(module: str, *arguments: str) -> list[str]:
    """Return the argv that runs one of our modules with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


@dataclass(slots=True)
class Adopted:
    """A process that somebody else started, known by the lease it holds: `Child` without a status."""

    lock: Path
    name: str
    _poll_s: float = 0.05

    def poll(self) -> int | None:
        """Return None while it runs; afterwards SIGKILL's status, because nobody else will know."""
        return None if lease.holder(self.lock) is not None else -signal.SIGKILL

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end; return the exit status, or None when the time ran out first."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while self.poll() is None:
            if until is not None and time.monotonic() >= until:
                return None
            time.sleep(self._poll_s)
        return self.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its group; a group that is gone is no error."""
        pid = lease.holder(self.lock)
        if not pid:
            return
        try:
            signal_group(
                os.getpgid(pid), number
            )  # it may be one of several that one launcher leads
        except ProcessLookupError:
            return

    def stop(self, grace_s: float = 10.0) -> int:
        """SIGTERM the group, wait `grace_s`, SIGKILL what is left; return the exit status."""
        self.signal(signal.SIGTERM)
        if self.wait(grace_s) is None:
            self.signal(signal.SIGKILL)
        return self.wait() or 0


stop_requested = threading.Event()
"""Set by a worker's signal handler; long loops look at it at every safe point."""
