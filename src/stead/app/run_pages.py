"""Pages about runs: several compared, with their curves, as one self-contained HTML file.

Knows nothing about how runs are found.
"""

from pathlib import Path
from typing import Any

from stead.app.run_control import Comparison
from stead.core import files
from stead.evaluation import chart
from stead.evaluation.page import Chart, Section, Table, html


def write_comparison(found: Comparison, path: Path) -> None:
    """Write the comparison to `path`."""
    names = [f"{i + 1} {r.name if r.name is not None else r.id}" for i, r in enumerate(found.runs)]
    sections: list[Section] = []
    lines = {n: line for n, line in zip(names, found.losses, strict=True) if line}
    if lines:
        sections.append(
            Chart("Loss", chart.lines(lines, title="loss by step", x="step", y="", from_zero=False))
        )
    numbers = range(1, len(names) + 1)
    for title, rows in (("Results", found.results), ("Settings that differ", found.settings)):
        cells = [(k, *map(_cell, v)) for k, v in rows.items() if any(x is not None for x in v)]
        sections.append(Table(title, ("", *names), cells, list(numbers)))
    files.write_text(path, html("Runs compared", sections, subtitle=" against ".join(names)))


def _cell(value: Any) -> str:  # Any: a JSON value
    if value is None:
        return "–"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
