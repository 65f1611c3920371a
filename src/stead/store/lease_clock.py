"""The clock on which leases are read: one that all holders share and that nobody sets.

Knows nothing about leases. PostgreSQL's own; on one machine the monotonic clock since its start, whose
realm is that start: after another one, every lease has run out.
"""

import time
from collections.abc import Callable
from pathlib import Path

import psutil

from stead.store.db import Database

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class LeaseClock:
    """`realm` names the clock: times of another realm are no times here. Thread-safe."""

    def __init__(self, database: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.realm = _boot() if database.is_sqlite else "database"
        self.now = database.clock(monotonic)  # seconds, as a part of statements


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return f"boot-{psutil.boot_time():.0f}"
