"""Show every decision about a training run, its cost and its hash, without running it."""

from typing import Annotated

import typer

from stead.cli import console
from stead.cli.recipe_options import Request, recipe_command

Proofs = Annotated[
    bool,
    typer.Option(
        "--proofs", help="Also check mask, packing and accumulation on the model and rows."
    ),
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Measure this machine first: better times, some seconds.")
]


@recipe_command
def command(
    request: Request,
    proofs: Proofs = False,
    measure: Measure = False,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Show every decision about a training run, its cost and its hash, without running it."""
    from stead.app.plans import make_plan, measured_plan
    from stead.cli.plan_view import show_plan, show_proofs

    make = measured_plan if measure else make_plan
    made = make(request.recipe, request.overrides, allow=request.allow)
    if not proofs:
        show_plan(made, as_json=as_json, quiet=quiet)
        return
    from stead.app.proofs import prove

    with console.progress(quiet=quiet) as emit:
        found = prove(made, emit)
    show_proofs(made, found, as_json=as_json, quiet=quiet)
