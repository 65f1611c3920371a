"""How an evaluation's result looks on a terminal; shared by `evaluate` and `benchmark`.

Knows nothing about how it was computed.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stead.cli import console

if TYPE_CHECKING:
    from stead.app.evaluate import EvaluateRequest


def run(request: "EvaluateRequest", out: str | None, *, quiet: bool) -> dict[str, Any]:
    """Run a request with progress on stderr; return its JSON result."""
    from pathlib import Path

    from stead.app.evaluate import evaluate

    with console.progress(quiet=quiet) as emit:
        return evaluate(request, None if out is None else Path(out), emit)


def show(result: Mapping[str, Any]) -> None:  # Any: JSON values
    """Print the scores as a table and say where the report is."""
    from rich.table import Table

    from stead.evaluation.report import sentence, table
    from stead.values import Report

    found = Report(None, result["metrics"], [], dict(result))
    cells = table(found)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for j, head in enumerate(cells.head):
        grid.add_column(head, justify="right" if j in cells.numbers else "left", no_wrap=True)
    for i, row in enumerate(cells.rows):
        tones = cells.tones or {}
        style = {"good": "green", "bad": "red"}
        grid.add_row(*(_styled(c, style.get(tones.get((i, j), ""))) for j, c in enumerate(row)))
    screen = console.stdout()
    if not screen.is_terminal:
        screen.width = 160  # a pipe has no edge to wrap at
    screen.print(grid)
    console.out(f"\n{sentence(found)}")
    console.note(f"report: {result['report']}")


def _styled(text: str, style: str | None) -> Any:  # Any: Rich's text
    from rich.text import Text

    return Text(text, style=style if style else "")
