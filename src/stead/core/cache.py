"""Memory that may be forgotten: named areas with a size limit, an age limit and counts.

Knows nothing about what is kept; values are bytes, so that sizes are exact and nothing can run. Lives in one
process; all calls from one thread.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from stead.core.errors import ConfigError

_ENTRY_BYTES = 200  # of the table itself, per entry: key object, tuple and links


@dataclass(slots=True)
class Stats:
    """What an area has done so far, and what is in it."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0  # for room
    expired: int = 0
    entries: int = 0
    size_bytes: int = 0

    @property
    def hit_rate(self) -> float:
        """The share of questions that found something; 0 before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class Area:
    """One named part: least recently used goes first; the size never passes the limit.

    `ttl_s` None keeps until room is needed. What is larger than the whole limit is not kept.
    """

    def __init__(
        self,
        name: str,
        limit_bytes: int,
        ttl_s: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.limit_bytes = limit_bytes
        self.ttl_s = ttl_s
        self.stats = Stats()
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def get(self, key: bytes) -> bytes | None:
        """Return what is kept under a key, or None."""
        found = self._kept.get(key)
        if found is None:
            self.stats.misses += 1
            return None
        if self.ttl_s is not None and self._clock() - found[1] >= self.ttl_s:
            self._remove(key)
            self.stats.expired += 1
            self.stats.misses += 1
            return None
        self._kept.move_to_end(key)
        self.stats.hits += 1
        return found[0]

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value, making room for it."""
        if key in self._kept:
            self._remove(key)
        size = _size(key, value)
        if size > self.limit_bytes:
            return
        while self.stats.size_bytes + size > self.limit_bytes:
            self._remove(next(iter(self._kept)))
            self.stats.evictions += 1
        self._kept[key] = (value, self._clock())
        self.stats.entries += 1
        self.stats.size_bytes += size

    def clear(self) -> None:
        """Forget everything; the counts of what was asked stay."""
        self._kept.clear()
        self.stats.entries = self.stats.size_bytes = 0

    def _remove(self, key: bytes) -> None:
        value, _ = self._kept.pop(key)
        self.stats.entries -= 1
        self.stats.size_bytes -= _size(key, value)


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + _ENTRY_BYTES


class Cache:
    """The areas of a process, by name."""

    def __init__(self) -> None:
        self._areas: dict[str, Area] = {}

    def area(self, name: str, limit_bytes: int, ttl_s: float | None = None) -> Area:
        """Return the area of that name, made at the first call.

        Raises: ConfigError("cache-area") when it is there with other limits.
        """
        found = self._areas.setdefault(name, Area(name, limit_bytes, ttl_s))
        if (found.limit_bytes, found.ttl_s) != (limit_bytes, ttl_s):
            raise ConfigError(
                "cache-area",
                f"the cache area {name!r} has {found.limit_bytes} bytes for {found.ttl_s} s already, "
                f"not {limit_bytes} for {ttl_s}",
            )
        return found

    def stats(self) -> dict[str, Stats]:
        """Return each area's counts."""
        return {name: area.stats for name, area in self._areas.items()}

    def clear(self) -> None:
        """Forget everything in every area."""
        for area in self._areas.values():
            area.clear()
