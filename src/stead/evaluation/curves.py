"""Loss by step out of a run's event log, and every curve of its step log, for pages.

Knows nothing about training; it reads the numbers that were emitted.
"""

import json
from pathlib import Path

from stead.core.events import Progress, follow

_NAMES = {"loss": "training loss", "eval_loss": "evaluation loss"}
_POINTS = 400  # more than a page is wide


def losses(events: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the curves of a run folder's events.jsonl, thinned to what can be seen; {} without."""
    found = told(events)
    named = {title: found[name] for name, title in _NAMES.items() if name in found}
    return {title: named[title] for title in sorted(named, reverse=True)}


def told(events: Path) -> dict[str, list[tuple[float, float]]]:
    """Return every curve of a run's events by name, steps that were done again once; {} without."""
    curves: dict[str, dict[float, float]] = {}
    for _, event in follow(events):
        if isinstance(event, Progress) and event.stage == "train":
            for name, value in event.values.items():
                curves.setdefault(name, {})[event.done] = value
    return {name: _thin(sorted(points.items())) for name, points in curves.items()}


def metrics(log: Path) -> dict[str, list[tuple[float, float]]]:
    """Return every curve of a run's metrics.jsonl by name, over its steps, thinned likewise."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for line in log.read_bytes().splitlines() if log.is_file() else ():
        try:
            values = json.loads(line)
        except ValueError:
            continue  # the line that is being written
        step = values.pop("step")
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                curves.setdefault(name, []).append((step, value))
    return {name: _thin(points) for name, points in curves.items()}


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    step = -(-len(points) // _POINTS)
    return [*points[:-1:step], points[-1]]
