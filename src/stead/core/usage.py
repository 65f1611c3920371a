"""What this process has used so far: time, processor time, time spent waiting for a core, memory.

Knows nothing about what the process does. The waiting time tells a slow program from a busy machine:
Linux counts how long each thread was ready to run and did not (Documentation/scheduler/sched-stats).
"""

import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_IMPORTED = time.perf_counter()
_STATUS = {"VmRSS": "resident", "VmHWM": "peak"}  # proc_pid_status(5), in KiB


@dataclass(frozen=True, slots=True)
class Usage:
    """A reading of the meters, or the difference of two. Seconds and bytes.

    `peak_bytes` is the largest resident size since this program began: unlike `ru_maxrss` it leaves
    out what the parent held when it forked. `main_…`: of the main thread alone; the waiting of
    threads that have ended is forgotten by the system, so the whole program's is too low then.
    """

    wall_s: float
    cpu_s: float
    wait_s: float
    resident_bytes: int
    peak_bytes: int
    main_cpu_s: float = 0.0
    main_wait_s: float = 0.0

    def since(self, before: "Usage") -> "Usage":
        """Return the times that passed since `before`, and the sizes as they are."""
        return Usage(
            self.wall_s - before.wall_s,
            self.cpu_s - before.cpu_s,
            max(0.0, self.wait_s - before.wait_s),
            self.resident_bytes,
            self.peak_bytes,
            self.main_cpu_s - before.main_cpu_s,
            self.main_wait_s - before.main_wait_s,
        )

    @property
    def ran_share(self) -> float:
        """The share of the time it could run in which it did run; 1 on an idle machine."""
        return _share(self.cpu_s, self.wait_s)

    @property
    def main_ran_share(self) -> float:
        """The same of the main thread."""
        return _share(self.main_cpu_s, self.main_wait_s)


def _share(ran: float, waited: float) -> float:
    return ran / (ran + waited) if ran + waited > 0 else 1.0


def read(proc: Path = Path("/proc/self")) -> Usage:
    """Read the meters of this process. Where /proc is missing, waiting is 0."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    sizes = _sizes(proc / "status")
    peak = own.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Usage(
        time.perf_counter(), own.ru_utime + own.ru_stime, _waited(proc / "task"),
        sizes.get("resident", peak), sizes.get("peak", peak),
        *_times(proc / "schedstat"),
    )  # fmt: skip


def peak_bytes(proc: Path) -> int:
    """Return the largest resident size of the process at `proc`, /proc/PID; 0 when it is gone."""
    try:
        return _sizes(proc / "status").get("peak", 0)
    except OSError:
        return 0


def load() -> float:
    """Return how many programs wanted a core on average in the last minute; 0 where nobody counts."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def age_s(proc: Path = Path("/proc")) -> float:
    """Return the seconds since this process began; elsewhere than on Linux, since this import."""
    stat = proc / "self" / "stat"
    if not stat.is_file():
        return time.perf_counter() - _IMPORTED
    begun = int(stat.read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return float((proc / "uptime").read_text().split()[0]) - begun


def _sizes(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name in _STATUS:
            found[_STATUS[name]] = int(value.split()[0]) * 1024
    return found


def _waited(tasks: Path) -> float:
    """Add up the waiting of all living threads."""
    return sum(_times(path)[1] for path in tasks.glob("*/schedstat"))


def _times(path: Path) -> tuple[float, float]:
    """Return the seconds a thread ran and waited: the first two fields of schedstat, nanoseconds."""
    try:
        ran, waited = path.read_text().split()[:2]
    except (OSError, ValueError):
        return 0.0, 0.0  # not counted here, or a thread that ended meanwhile
    return int(ran) / 1e9, int(waited) / 1e9
