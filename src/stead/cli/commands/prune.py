"""Set a model's least weights to zero, or cut out heads and neurons, without training."""

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from stead.cli import console, pruning
from stead.cli.grouped import grouped


@dataclass(frozen=True, slots=True)
class Choice:
    """What goes."""

    method: Annotated[
        str, typer.Option("--method", help="magnitude, wanda (needs --data) or structured.")
    ] = "magnitude"
    sparsity: pruning.Sparsity = 0.5
    pattern: pruning.Pattern = None
    scope: Annotated[
        str, typer.Option("--scope", help="magnitude: share of each layer, or global over all.")
    ] = "layer"
    parts: Annotated[str, typer.Option("--parts", help="structured: neurons, heads or both.")] = (
        "neurons"
    )
    importance: Annotated[
        str, typer.Option("--importance", help="structured: norm, or first-order (needs --data).")
    ] = "norm"


@grouped
def command(
    model: pruning.Model,
    out: pruning.Out,
    choice: Choice,
    data: pruning.Data = None,
    rows: pruning.Rows = 128,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Set a model's least weights to zero, or cut out heads and neurons, without training."""
    from stead.app import pruning as app

    with console.progress(quiet=quiet) as emit:
        made = app.prune(model, out, asdict(choice), data=data, rows=rows, emit=emit)
    pruning.show(made, as_json=as_json)
