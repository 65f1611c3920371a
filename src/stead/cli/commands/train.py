"""Train a model: a recipe or options in, a run folder with the finished weights out.

Knows nothing about training; a worker process does it, so Ctrl-C saves and stops cleanly.
"""

from pathlib import Path
from typing import Annotated

import typer

from stead.app import runs, supervise
from stead.app.plans import make_plan
from stead.cli import console
from stead.cli.plan_view import show_plan
from stead.cli.recipe_options import Request, recipe_command
from stead.cli.resume_level import Level, known
from stead.cli.run_view import index, show_result
from stead.core.paths import Home
from stead.planning.plan import Plan

Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan; train nothing.")]


def _train(
    request: Request,
    *,
    resume: Resume = False,
    resume_level: Level = None,
    dry_run: DryRun = False,
    json_: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Train a model: a recipe or options in, a run folder with the finished weights out."""
    plan = make_plan(request.recipe, request.overrides, allow=request.allow)
    if dry_run:
        show_plan(plan, as_json=json_, quiet=quiet)
        return
    level: bool | str = resume if resume_level is None else known(resume_level)
    if not quiet:
        for text in plan.notes:
            console.note(f"note: {text}")
    folder = _folder(plan)
    plan = plan.placed(folder)
    with console.progress(quiet=quiet) as emit:
        spec = {"plan": plan.to_json(), "resume": level}
        result = supervise.train(spec, folder, emit, plan.config.launch)
    index(folder)
    if json_:
        console.out_json(result)
        return
    show_result(result)


def _folder(plan: Plan) -> Path:
    given = plan.config.out
    if given is not None:
        return Path(given).absolute()
    return Home.find().ensure().runs / runs.new_id("train")


command = recipe_command(_train)
