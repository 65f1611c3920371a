"""What `evaluate` and `benchmark` share: their options, and how a result looks on a terminal.

Knows nothing about how it was computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.cli import console

if TYPE_CHECKING:
    from stead.app.evaluate import EvaluateRequest


Data = Annotated[str, typer.Option(help="Rows with answers: file, folder or hf:org/name.")]
Out = Annotated[str | None, typer.Option(help="Folder for the run and its report.")]


@dataclass(frozen=True, slots=True)
class Asking:
    """How many rows are asked, and how they are answered."""

    limit: Annotated[int | None, typer.Option(min=1, help="Take the first rows only.")] = None
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 256
    temperature: Annotated[float, typer.Option(min=0, help="0: always the likeliest.")] = 0.0
    seed: Annotated[int, typer.Option(help="For sampling and error bars.")] = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How rows are read and where the model runs."""

    reader: Annotated[str, typer.Option(help="How to read the file.")] = "auto"
    format: Annotated[str, typer.Option(help="What its columns mean.")] = "auto"
    dtype: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto"
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto"


def names(text: str) -> tuple[str, ...]:
    """Return the names between commas."""
    return tuple(m.strip() for m in text.split(",") if m.strip())


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
