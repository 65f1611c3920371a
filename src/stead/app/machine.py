"""The machine now, for gauges: processor, memory, disk, accelerators, and what this process takes.

Knows nothing about who shows it. Asking costs a look at /proc and, with a card, nvidia-smi: call it in a thread.
"""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from stead.core import hardware, usage
from stead.core.hardware import Hardware
from stead.core.paths import Home

_SEEN_S = 2.0  # nvidia-smi takes a good part of a second


@dataclass(frozen=True, slots=True)
class Now:
    """A reading; sizes in bytes, `load` as programs that wanted a core."""

    hardware: Hardware
    disk_bytes: int
    load: float
    process_bytes: int


class Machine:
    """Reads the machine, at most every two seconds. Threads may share it."""

    def __init__(self, home: Home, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen: tuple[float, Now] | None = None

    def now(self) -> Now:
        """Return the newest reading."""
        with self._lock:
            at = self._monotonic()
            if self._seen is None or at - self._seen[0] >= _SEEN_S:
                self._seen = (at, self._read())
            return self._seen[1]

    def _read(self) -> Now:
        root = self._home.ensure().root
        disk = shutil.disk_usage(root).total
        return Now(hardware.probe(root), disk, usage.load(), usage.read().resident_bytes)
