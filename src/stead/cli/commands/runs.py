"""List, show, follow, compare, resume and cancel training runs.

Knows nothing about training; a run is a folder and, while it lives, a process.
"""

from pathlib import Path
from typing import Annotated

import typer

from stead.cli import console, run_view
from stead.cli.resume_level import Level, known

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id, beginning of an id, name or folder.")]


def _find(text: str) -> Path:
    from stead.app.run_folders import find
    from stead.core.paths import Home

    return find(text, Home.find())


@app.command("list")
def list_runs(
    state: Annotated[
        str | None,
        typer.Option(help="Only running, succeeded, failed, interrupted or paused ones."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    as_json: console.Json = False,
) -> None:
    """List training runs, newest first, wherever --out put them."""
    from stead.app import run_folders
    from stead.core.paths import Home

    found = [r for r in run_folders.runs(Home.find()) if state in (None, r.state)][:limit]
    if as_json:
        console.out_json({"runs": [r.to_dict() for r in found]})
    else:
        run_view.show_list(found)


@app.command()
def show(run: Run, as_json: console.Json = False) -> None:
    """Show one run: settings, results, checkpoints, artifacts, forecast against actual."""
    from stead.app.run_control import details

    found = details(_find(run))
    if as_json:
        console.out_json(found)
    else:
        run_view.show_details(found)


@app.command()
def follow(run: Run, as_json: console.Json = False, quiet: console.Quiet = False) -> None:
    """Watch a run that was started anywhere until it ends; Ctrl-C stops watching, not the run."""
    from stead.app.run_control import follow_run

    with console.progress(quiet=quiet) as emit:
        found = follow_run(_find(run), emit)
    if as_json:
        console.out_json(found.to_dict())
    else:
        run_view.show_summary(found)
    if found.state in ("failed", "paused"):
        raise typer.Exit(1)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN…", help="Two runs or more.")],
    out: Annotated[Path | None, typer.Option(help="Also write a page with the curves.")] = None,
    as_json: console.Json = False,
) -> None:
    """Compare runs: settings that differ, results side by side, losses."""
    from stead.app import run_control, run_pages

    found = run_control.compare([_find(r) for r in runs])
    if out is not None:
        run_pages.write_comparison(found, out)
        console.note(f"page: {out}")
    if as_json:
        console.out_json(
            {"runs": [r.to_dict() for r in found.runs], "settings": found.settings,
             "results": found.results, "losses": found.losses}
        )  # fmt: skip
    else:
        run_view.show_comparison(found)


@app.command()
def resume(
    run: Run,
    resume_level: Level = None,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Go on with a stopped run; it ends with the same bits as one that was never stopped."""
    from stead.app import run_control

    level = "exact" if resume_level is None else known(resume_level)
    with console.progress(quiet=quiet) as emit:
        folder = _find(run)
        result = run_control.resume(folder, emit, level)
    run_view.index(folder)
    if as_json:
        console.out_json(result)
    else:
        run_view.show_result(result)


@app.command()
def fork(
    run: Run,
    step: Annotated[
        int | None, typer.Option(min=0, help="Go on from this checkpoint; without: begin anew.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY.PATH=VALUE", help="Set any key of the recipe."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the new run.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new run.")] = None,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Train a new run by this one's recipe with some settings changed, from a checkpoint or anew."""
    from stead.app import forks, supervise
    from stead.config import load

    changes = dict(load.assignment(text) for text in settings or ())
    plan = forks.fork(_find(run), changes, step=step, out=out, name=name)
    with console.progress(quiet=quiet) as emit:
        spec = {"plan": plan.to_json(), "resume": step is not None}
        result = supervise.train(spec, Path(str(plan.config.out)), emit, plan.config.launch)
    run_view.index(Path(str(plan.config.out)))
    if as_json:
        console.out_json(result)
    else:
        run_view.show_result(result)


@app.command()
def cancel(
    run: Run,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for its end.")] = 120.0,
    as_json: console.Json = False,
) -> None:
    """Stop a running run: it saves at its present step, and `resume` goes on from there."""
    from stead.app import run_control

    found = run_control.cancel(_find(run), timeout)
    if as_json:
        console.out_json(found.to_dict())
    else:
        run_view.show_summary(found)
