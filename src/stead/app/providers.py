"""How well the endpoints do: their circuits now, and the requests of the last hour.

Knows nothing about endpoints beyond their names.
"""

import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from stead.app import strategies, strategy_library
from stead.app.platform import Platform
from stead.core.errors import SteadError

_HOUR_S = 3600.0
_MOST = 5000  # entries that are looked at


@dataclass(frozen=True, slots=True)
class Health:
    """One endpoint; `open`: too many of its answers failed, so it is left alone for a while."""

    name: str
    state: Literal["ok", "open", "unavailable"]
    reason: str
    p50_ms: float | None
    error_rate: float | None
    requests: int


def health(here: Platform) -> list[Health]:
    """Return every endpoint of the strategy in use and of those that are served, by name."""
    reasons = _known(here)
    times: dict[str, list[float]] = defaultdict(list)
    failed: dict[str, int] = defaultdict(int)
    for entry in here.accounts.spend.entries(since=here.clock() - _HOUR_S, most=_MOST):
        for attempt in entry.attempts:
            times[attempt.candidate].append(attempt.seconds)
            failed[attempt.candidate] += attempt.outcome != "ok"
    circuits = {} if here.served is None else {b.name: b.state for b in here.served.circuits}
    return [
        Health(
            name, _state(circuits.get(name, "closed"), reasons.get(name, "")), reasons.get(name, ""),
            statistics.median(times[name]) * 1000 if times[name] else None,
            failed[name] / len(times[name]) if times[name] else None, len(times[name]),
        )
        for name in sorted({*reasons, *times, *circuits})
    ]  # fmt: skip


def _known(here: Platform) -> dict[str, str]:
    """Return the endpoints of strategies and why one cannot be used, "" when it can."""
    found: dict[str, str] = {}
    for one in (*(() if here.served is None else here.served.found), None):
        try:
            strategy = strategy_library.find(None, here.home) if one is None else one
            made = strategies.composed(strategy, here.home)
        except SteadError:
            continue  # none is in use, or it only trains
        for candidate in made.candidates:
            found[candidate.name] = "" if candidate.unavailable is None else candidate.unavailable
    return found


def _state(circuit: str, reason: str) -> Literal["ok", "open", "unavailable"]:
    if reason:
        return "unavailable"
    return "ok" if circuit == "closed" else "open"
