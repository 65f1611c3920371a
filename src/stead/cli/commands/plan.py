"""Show every decision about a training run, its cost and its hash, without running it."""

from stead.cli import console
from stead.cli.recipe_options import Request, recipe_command


@recipe_command
def command(request: Request, as_json: console.Json = False, quiet: console.Quiet = False) -> None:
    """Show every decision about a training run, its cost and its hash, without running it."""
    from stead.app.plans import make_plan
    from stead.cli.plan_view import show_plan

    made = make_plan(request.recipe, request.overrides, allow=request.allow)
    show_plan(made, as_json=as_json, quiet=quiet)
