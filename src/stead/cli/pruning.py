"""What the pruning commands share: their options, and the one line they end with.

Knows nothing about pruning.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from stead.cli import console

Model = Annotated[str, typer.Argument(help="Model folder, run, or the name of an added model.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write; must be free.")]
Sparsity = Annotated[float, typer.Option("--sparsity", help="Share that goes.")]
Pattern = Annotated[
    str | None, typer.Option("--pattern", help="Keep n of every m weights, for instance 2:4.")
]
Data = Annotated[str | None, typer.Option("--data", "-d", help="Rows that the model is shown.")]
Rows = Annotated[int, typer.Option("--rows", help="At most so many of them.", min=1)]


def show(made: dict[str, Any], *, as_json: bool) -> None:  # Any: JSON values
    """Print the result of a pruning."""
    if as_json:
        console.out_json(made)
        return
    console.out(
        f"{made['path']}  {made['sparsity']:.1%} gone  {made['parameters']:,} parameters  "
        f"{made['bytes']:,} bytes"
    )
