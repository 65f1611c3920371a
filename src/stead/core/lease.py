"""A file that one process holds, kept by the operating system: a dead holder holds nothing.

Knows nothing about what is leased. The file names its holder, so that others can ask who it is.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ASKING_S = 0.5  # somebody who only asks holds the file for far less


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold `path` while the block runs; yields False when another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        if not _lock(file.fileno()):
            yield False
            return
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield True


def _lock(descriptor: int) -> bool:
    end = time.monotonic() + _ASKING_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        else:
            return True


def holder(path: Path) -> int | None:
    """Return the process that holds `path` (0: it has not said who it is), or None."""
    try:
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read().decode(errors="replace")
                return int(text) if text.isdigit() else 0
    except FileNotFoundError:
        return None
    return None
