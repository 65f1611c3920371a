"""Set a model's least weights to zero, or cut out heads and neurons, without training."""

from typing import Annotated

import typer

from stead.cli import console, pruning

Method = Annotated[
    str, typer.Option("--method", help="magnitude, wanda (needs --data) or structured.")
]
Scope = Annotated[
    str, typer.Option("--scope", help="magnitude: share of each layer, or global over all.")
]
Parts = Annotated[str, typer.Option("--parts", help="structured: neurons, heads or both.")]
Importance = Annotated[
    str, typer.Option("--importance", help="structured: norm, or first-order (needs --data).")
]


def command(  # noqa: PLR0913, PLR0917 - the options of the command line
    model: pruning.Model,
    out: pruning.Out,
    method: Method = "magnitude",
    sparsity: pruning.Sparsity = 0.5,
    pattern: pruning.Pattern = None,
    scope: Scope = "layer",
    parts: Parts = "neurons",
    importance: Importance = "norm",
    data: pruning.Data = None,
    rows: pruning.Rows = 128,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Set a model's least weights to zero, or cut out heads and neurons, without training."""
    from stead.app import pruning as app

    choice = {"method": method, "sparsity": sparsity, "pattern": pattern, "scope": scope,
              "parts": parts, "importance": importance}  # fmt: skip
    with console.progress(quiet=quiet) as emit:
        made = app.prune(model, out, choice, data=data, rows=rows, emit=emit)
    pruning.show(made, as_json=as_json)
