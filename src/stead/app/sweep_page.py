"""The page of a sweep: every trial, the best value so far, and the value over each parameter.

Knows nothing about how trials are chosen or run. One self-contained file.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from stead.app import search_space
from stead.app.samplers import Trial
from stead.core import files
from stead.evaluation import chart
from stead.evaluation.page import Chart, Kpi, Kpis, Section, Table, html

_DECADES = 50.0  # largest over smallest: beyond it a linear axis shows one end only


def write_sweep(trials: Sequence[Trial], best: Trial, metric: str, *, minimize: bool, path: Path) -> None:  # fmt: skip
    """Write the page to `path`."""
    good = [t for t in trials if t.state == "complete" and t.value is not None]
    value = best.value if best.value is not None else 0.0
    sections: list[Section] = [
        Kpis((Kpi(f"best {metric}", f"{value:.5g}", "good"), Kpi("trials", str(len(trials))),
              Kpi("of them complete", str(len(good))))),
        Chart("Best so far", _best_so_far(good, metric, minimize=minimize)),
    ]  # fmt: skip
    sections += [c for key in best.params if (c := _over(good, key, metric)) is not None]
    sections.append(_table(trials, best, metric))
    under = f"best: trial {best.number}  {search_space.shown(best.params)}"
    files.write_text(path, html("Sweep", sections, subtitle=under))


def _over(good: Sequence[Trial], key: str, metric: str) -> Chart | None:
    """Draw the value over one parameter, which spreads over powers of ten when it was tried so."""
    points = [(float(t.params[key]), t.value) for t in good if _is_number(t.params[key]) and t.value is not None]  # fmt: skip
    xs = {x for x, _ in points}
    if len(xs) < 2:
        return None
    name = key
    if min(xs) > 0 and max(xs) / min(xs) >= _DECADES:
        points, name = [(math.log10(x), y) for x, y in points], f"log₁₀ {key}"
    return Chart(key, chart.dots(points, title=f"{metric} by {name}", x=name))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _best_so_far(good: Sequence[Trial], metric: str, *, minimize: bool) -> str:
    own = [(float(t.number), float(t.value)) for t in good if t.value is not None]
    better = min if minimize else max
    best = [(x, better(y for _, y in own[: i + 1])) for i, (x, _) in enumerate(own)]
    return chart.lines({metric: own, "best so far": best}, title=f"{metric} by trial", x="trial", y="", from_zero=False)  # fmt: skip


def _table(trials: Sequence[Trial], best: Trial, metric: str) -> Table:
    keys = list(best.params)
    rows = [
        (
            str(t.number), "" if t.value is None else f"{t.value:.5g}", t.state,
            *(f"{t.params[k]:.4g}" if isinstance(t.params[k], float) else str(t.params[k]) for k in keys),
            f"{t.seconds:.1f}", t.error if t.error is not None else "",
        )
        for t in trials
    ]  # fmt: skip
    head = ("trial", metric, "state", *keys, "seconds", "error")
    place = next(i for i, t in enumerate(trials) if t.number == best.number)
    return Table("Trials", head, rows, (0, 1, *range(3, 4 + len(keys))), {(place, 1): "good"})
