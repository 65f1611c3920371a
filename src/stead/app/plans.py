"""Use case "plan": a recipe and options → a Plan, with the rooms that know models and data.

Knows nothing about how a plan is shown or carried out. Light: reads headers and rows, no weights.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from stead.app import run_folders, runs
from stead.app.surveys import survey_rows
from stead.config.kinds import registry
from stead.config.recipe import read_recipe
from stead.config.run import RunConfig
from stead.config.settings import read_settings
from stead.core import files, hardware, lazy, usage
from stead.core.events import Emit, ignore
from stead.core.hardware import Hardware
from stead.core.paths import Home
from stead.hub.inspect import inspect, locate
from stead.planning import recommend, resolve
from stead.planning.plan import Plan


def make_plan(
    source: RunConfig | Mapping[str, Any] | Path | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    origin: str = "call",
    allow: Collection[str] = (),
    home: Home | None = None,
) -> Plan:
    """Settle everything about a run; nothing is loaded, and only what was counted is kept.

    `overrides` are dotted keys, for instance {"trainer.lr": 1e-4}. The disk is that of the recipe's
    `out`, else that of the data directory's runs. Raises: what
    `planning.resolve.plan`, `hub.inspect` and `data.survey` raise.
    """
    home = Home.find() if home is None else home
    recipe = read_recipe(source, overrides, origin)
    if recipe.config.out is not None:
        files.check_folder(Path(recipe.config.out))
    machine = _machine(home.runs if recipe.config.out is None else Path(recipe.config.out))
    found = resolve.plan(
        recipe,
        inspect=lambda path: inspect(locate(path, home=home).absolute(), home=home),
        survey=lambda config, model, longest: survey_rows(config, model, longest, home),
        hardware=machine,
        home=home,
        allow=allow,
        trackers=auto_trackers(home),
    )
    runs.command(Path(runs.JOB), found.config.launch)  # refuses what the launcher cannot do
    for tracker in found.config.trainer.trackers:
        registry("tracker").require(tracker)
    if found.origins["trainer.trackers"] == _NOT_INSTALLED:
        found = replace(found, notes=(*found.notes, _NOT_INSTALLED))
    busy = recommend.busy(usage.load(), machine.cores)
    return replace(found, notes=(*found.notes, *_finished(recipe.config.out), *busy))


def _finished(out: str | None) -> tuple[str, ...]:
    if out is None or not (Path(out) / "final").exists():
        return ()
    return (f"{out!r} holds a finished run, which is never overwritten: give another --out",)


def _machine(out: Path) -> Hardware:
    """Look at the machine with the disk of the run's folder; what the run itself holds there is room for it."""
    seen = hardware.probe(out.absolute())
    with suppress(OSError):  # a folder that may not be read says so when the run begins
        if run_folders.is_run(out):
            return replace(seen, disk_free_bytes=seen.disk_free_bytes + _held(out))
    return seen


def _held(run: Path) -> int:
    """Return the bytes of a run's checkpoints and result: a resumed run replaces them."""
    found = 0
    for path in (p for name in ("checkpoints", "final") for p in (run / name).rglob("*")):
        with suppress(OSError):  # an old checkpoint goes while another one is written
            found += path.stat().st_size if path.is_file() and not path.is_symlink() else 0
    return found


_NOT_INSTALLED = "TensorBoard is off: it is not installed (pip install 'stead[train]')"


def auto_trackers(
    home: Home, installed: Callable[[str], bool] = lazy.installed
) -> tuple[tuple[str, ...], str]:
    """Return the trackers of a recipe that names none, and why: TensorBoard when it is installed."""
    settings = read_settings(home)
    if settings.value.disable_tensorboard:
        return (), f"TensorBoard is off ({settings.origins['disable_tensorboard']})"
    if not installed("tensorboard"):
        return (), _NOT_INSTALLED
    return ("tensorboard",), "TensorBoard is installed"


def measured_plan(
    source: RunConfig | Mapping[str, Any] | Path | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    allow: Collection[str] = (),
    emit: Emit = ignore,
) -> Plan:
    """Measure what the plan's device sustains, in a worker; then plan. Raises: as `make_plan`."""
    first = make_plan(source, overrides, allow=allow)
    section, home = first.config.model, Home.find().ensure()
    spec = {
        "device": section.device, "dtype": section.dtype, "name": first.forecast.kind["name"],
        "lanes": first.forecast.lanes, "again": True,
    }  # fmt: skip
    runs.launch("probe", spec, home.cache / "system" / "probe", emit)
    return make_plan(source, overrides, allow=allow)
