"""What finished runs needed against what was forecast, and the correction that follows.

Knows nothing about how forecasts are made. One JSON line per run in the data directory; a torn last
line is skipped. Deleting the file only forgets.
"""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.config.run import RunConfig
from stead.core.paths import Home
from stead.planning.plan import Interval, Plan

_KEPT = 50  # the newest runs of a kind; machines and code change
_ENOUGH = 5  # runs before their own spread replaces the assumed one
_LIMITS = (0.05, 20.0)  # a ratio outside is a broken record, not a correction


@dataclass(frozen=True, slots=True)
class Correction:
    """The factor on a forecast learnt from `runs` finished runs, its range, and the past error."""

    factor: float
    low: float
    high: float
    runs: int
    error: float  # median of |actual − forecast| / actual, after the factor

    def apply(self, expected: float) -> Interval:
        """Return the corrected interval."""
        return Interval(expected * self.low, expected * self.factor, expected * self.high)


def path(home: Home) -> Path:
    """Return the file of records."""
    return home.cache / "system" / "forecasts.jsonl"


def key(config: RunConfig, cpu: str) -> dict[str, str]:
    """Return what makes two runs comparable: machine, device, dtype, method, adapter."""
    return {
        "cpu": cpu,
        "device": config.model.device,
        "dtype": config.model.dtype,
        "method": config.method.type,
        "adapter": config.adapter.type,
    }


def record(plan: Plan, actual: dict[str, float], home: Home) -> None:
    """Append what a finished run needed: `memory_bytes` (peak) and `seconds`, either may miss."""
    kind = key(plan.config, str(plan.hardware["cpu"]))
    line = {"kind": kind, "forecast": plan.forecast.raw, "actual": actual, "plan": plan.hash}
    target = path(home)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "ab") as file:  # one write call: lines of two writers do not mix
        file.write(json.dumps(line, allow_nan=False).encode() + b"\n")


def read(home: Home) -> list[dict[str, Any]]:
    """Return all records, oldest first; lines that are no records are skipped."""
    target = path(home)
    if not target.is_file():
        return []
    found = []
    for line in target.read_bytes().splitlines():
        try:
            item = json.loads(line)
        except ValueError:
            continue
        if isinstance(item, dict) and {"kind", "forecast", "actual"} <= item.keys():
            found.append(item)
    return found


def correction(
    records: list[dict[str, Any]], wanted: dict[str, str], quantity: str
) -> Correction | None:
    """Return the median ratio of actual to forecast over comparable runs, or None without any."""
    found = [_ratio(r, quantity) for r in records if r["kind"] == wanted][-_KEPT:]
    ratios = sorted(r for r in found if r is not None)
    if not ratios:
        return None
    factor = statistics.median(ratios)
    error = statistics.median(abs(r - factor) / r for r in ratios)
    if len(ratios) < _ENOUGH:
        return Correction(factor, factor * 0.75, factor * 1.35, len(ratios), error)
    spread = max(0.05, 1.5 * max(ratios[-1] / factor - 1, 1 - ratios[0] / factor))
    return Correction(factor, factor / (1 + spread), factor * (1 + spread), len(ratios), error)


def _ratio(item: dict[str, Any], quantity: str) -> float | None:
    said, was = item["forecast"].get(quantity), item["actual"].get(quantity)
    if not isinstance(said, int | float) or not isinstance(was, int | float) or said <= 0:
        return None
    return was / said if _LIMITS[0] <= was / said <= _LIMITS[1] else None
