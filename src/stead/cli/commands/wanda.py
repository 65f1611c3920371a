"""Set weights to zero that add little to their outputs on given rows (WANDA), without training."""

from typing import Annotated

import typer

from stead.cli import console, pruning

Data = Annotated[str, typer.Option("--data", "-d", help="Rows that the model is shown.")]


def command(
    model: pruning.Model,
    out: pruning.Out,
    data: Data,
    sparsity: pruning.Sparsity = 0.5,
    pattern: pruning.Pattern = None,
    rows: pruning.Rows = 128,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Set weights to zero that add little to their outputs on given rows (WANDA), without training."""
    from stead.app import pruning as app

    choice = {"method": "wanda", "sparsity": sparsity, "pattern": pattern}
    with console.progress(quiet=quiet) as emit:
        made = app.prune(model, out, choice, data=data, rows=rows, emit=emit)
    pruning.show(made, as_json=as_json)
