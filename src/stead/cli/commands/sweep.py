"""Train a recipe with several values of some keys, and keep the best recipe.

Knows nothing about samplers; each trial is a training run of its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from stead.app import search_space, sweeps
from stead.app.sweeps import SweepRequest
from stead.cli import console
from stead.cli.recipe_options import Request, recipe_command
from stead.core.errors import ConfigError

Params = Annotated[
    list[str],
    typer.Option(
        "--param", "-p", metavar="KEY=VALUES",
        help="A,B,C or LOW:HIGH[:log][:POINTS], for any key of the recipe; may be repeated.",
    ),
]  # fmt: skip
Sampler = Annotated[str, typer.Option("--sampler", help="tpe, random or grid.")]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Default: 20; grid: all.")]
Metric = Annotated[str, typer.Option("--metric", help="eval_loss, or a metric of the evaluation.")]
Direction = Annotated[str, typer.Option("--direction", help="min or max.")]
Seed = Annotated[int, typer.Option("--sampler-seed", help="Seed of what is tried.")]
Parallel = Annotated[int, typer.Option("--parallel", min=1, help="Trials at the same time.")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0, help="Begin no trial after so many seconds.")
]
Prune = Annotated[
    bool, typer.Option("--prune/--no-prune", help="End trials that are worse than most.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, print what is tried first; train nothing.")]  # fmt: skip


def _sweep(  # noqa: PLR0913 - one parameter per option
    request: Request,
    *,
    param: Params,
    sampler: Sampler = "tpe",
    trials: Trials = None,
    metric: Metric = "eval_loss",
    direction: Direction = "min",
    sampler_seed: Seed = 42,
    parallel: Parallel = 1,
    timeout: Timeout = None,
    prune: Prune = True,
    dry_run: DryRun = False,
    json_: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Train a recipe with several values of some keys, and keep the best recipe."""
    if direction not in ("min", "max"):
        raise ConfigError("bad-option", f"--direction is {direction!r}, not min or max", hint="stead sweep --help")  # fmt: skip
    overrides = dict(request.overrides)
    place = overrides.pop("out", None)
    asked = SweepRequest(
        request.recipe, tuple(param), overrides, sampler, trials, metric, direction == "min", sampler_seed,
        parallel, timeout, prune,
    )  # fmt: skip
    if dry_run:
        _show_plan(sweeps.check(asked), as_json=json_)
        return
    if place is None:
        raise ConfigError("missing-key", "a sweep needs a folder: --out DIR")
    with console.progress(quiet=quiet) as emit:
        result = sweeps.run_sweep(asked, Path(place.value), emit)
    if json_:
        console.out_json(result)
    else:
        _show(result)


def _show_plan(sweep: sweeps.Sweep, *, as_json: bool) -> None:
    independent = sweep.request.sampler != "tpe"  # what tpe asks depends on the answers
    first = [sweep.propose(n, []) for n in range(sweep.total if independent else 1)]
    if as_json:
        console.out_json({"trials": sweep.total, "first": first})
        return
    console.out(f"{sweep.total} trials by {sweep.request.sampler}, {sweep.request.metric}")
    for number, values in enumerate(first[:20]):
        console.out(f"{number:4d}  {search_space.shown(values if values is not None else {})}")
    if len(first) > 20:
        console.out(f"      and {len(first) - 20} more")


def _show(result: Mapping[str, Any]) -> None:  # Any: JSON values
    from rich.table import Table

    keys = list(result["best"]["params"])
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for j, head in enumerate(("trial", result["metric"], "state", *keys, "seconds")):
        grid.add_column(head, justify="left" if j == 2 else "right")
    for trial in result["trials"]:
        is_best = trial["number"] == result["best"]["number"]
        grid.add_row(*_cells(trial, keys), style="bold green" if is_best else None)
    screen = console.stdout()
    if not screen.is_terminal:
        screen.width = 160
    screen.print(grid)
    best = result["best"]
    console.out(f"\nbest:    trial {best['number']}, {result['metric']} {best['value']:.5g}  {search_space.shown(best['params'])}")  # fmt: skip
    console.out(f"recipe:  {result['recipe']}")
    console.out(f"report:  {result['report']}")
    console.out(f"next:    stead train {result['recipe']} --out DIR")


def _cells(trial: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    value = "" if trial["value"] is None else f"{trial['value']:.5g}"
    shown = [trial["params"][k] for k in keys]
    cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in shown]
    return [str(trial["number"]), value, trial["state"], *cells, f"{trial['seconds']:.1f}"]


command = recipe_command(_sweep)
