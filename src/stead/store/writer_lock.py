"""One writer at a time for a SQLite file, among all threads and processes of this machine.

Knows nothing about SQL. The lock is `flock` on a file beside the database, never on the database itself:
closing any descriptor of that would drop the locks SQLite holds on it. A writer that dies frees it. Why one
writer: SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when two connections write or checkpoint at once.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stead.core.errors import ResourceError

_FIRST_WAIT_S = 0.0001
_LONGEST_WAIT_S = 0.002
_NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "fuse.sshfs")
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)


class WriterLock:
    """Held by one thread of one process at a time. Raises: ResourceError("database-busy").

    Whoever waits first holds a second file meanwhile, so that a writer that comes again at once finds
    that one taken and nobody is passed over for long.
    """

    def __init__(self, path: Path, timeout_s: float = 30.0) -> None:
        self.path = path
        self._timeout_s = timeout_s

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock while the block runs."""
        with self._open(self.path) as lock:
            with self._open(self.path.with_suffix(".next")) as turn:
                self._wait(turn)
                self._wait(lock)
            yield

    @staticmethod
    @contextmanager
    def _open(path: Path) -> Iterator[int]:
        # Opened anew each time: the lock belongs to the open file, so threads exclude each other too.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _wait(self, descriptor: int) -> None:
        end = time.monotonic() + self._timeout_s
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ResourceError(
                        "database-busy",
                        f"another process has been writing for {self._timeout_s} s ({self.path})",
                        status=503,
                        retry_after_s=1,
                    ) from None
                time.sleep(wait_s)
                wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
            else:
                return

    def works(self) -> bool:
        """Say whether this file system can lock for all who may open the file."""
        if _file_system(self.path).startswith(_NETWORK):
            return False
        try:
            with self.held():
                return True
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return False
            raise


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds `path`, "" where the system does not say."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    folder = str(path.parent.resolve())
    found, longest = "", -1
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        is_above = folder == point or folder.startswith(point.rstrip("/") + "/")
        if is_above and len(point) > longest:
            found, longest = kind, len(point)
    return found
