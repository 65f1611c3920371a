"""Faults at a chosen call: every call that changes the disk has a number, one of them goes wrong."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CALLS = ("mkdir", "open", "fsync", "rename", "replace", "unlink", "rmdir", "ftruncate")


@contextmanager
def at_call(number: int, act: Callable[[], None]) -> Iterator[list[str]]:
    """Call `act` before the `number`-th changing call (from 0); yields the names of all calls made."""
    made: list[str] = []
    real = {name: getattr(os, name) for name in CALLS}

    def wrap(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            made.append(name)
            if len(made) - 1 == number:
                act()
            return real[name](*arguments, **more)

        return call

    for name in CALLS:
        setattr(os, name, wrap(name))
    try:
        yield made
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def die() -> None:
    """Be killed as by the system: no handler, no clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)


def failing(number: int) -> Callable[[], None]:
    """Fail as the system does, with this errno."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


NO_SPACE, BROKEN, QUOTA = errno.ENOSPC, errno.EIO, errno.EDQUOT


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child; return its wait status: 0, or the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
