"""Use cases on runs that exist: show, follow, compare, resume, cancel.

Knows nothing about how anything is shown. A run belongs to its worker process: it can be followed
from anywhere, and is stopped by asking that process to save and end.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.app import run_folders
from stead.app.run_folders import Json, RunSummary
from stead.app.runs import EVENTS
from stead.app.supervise import train
from stead.config.document import assign, from_mapping
from stead.core import lease
from stead.core.errors import NotFound, ProcessError, UsageError
from stead.core.events import Emit, follow, ignore
from stead.evaluation import curves
from stead.planning import history
from stead.planning.plan import Plan

_POLL_S = 0.2
Curve = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side: settings that differ, results, and the loss of every step."""

    runs: list[RunSummary]
    settings: dict[str, list[Any]]  # Any: JSON values, one per run
    results: dict[str, list[Any]]
    losses: list[Curve]


def details(folder: Path) -> Json:
    """Return everything about one run: summary, settings, results, forecast against actual, files."""
    plan, result = run_folders.plan_of(folder), run_folders.result(folder)
    found = run_folders.summary(folder).to_dict()
    found["config"] = flat(plan["config"])
    found["result"] = result
    found["forecast"] = _forecast(plan["forecast"], result)
    found["checkpoints"] = _sizes(folder / "checkpoints")
    found["artifacts"] = _sizes(folder / "artifacts") | _sizes(folder / "final", whole=True)
    found["reports"] = [str(p) for p in (folder / "report.html", folder / "reports" / "report.html") if p.is_file()]  # fmt: skip
    return found


def flat(config: Json, prefix: str = "") -> Json:
    """Return nested settings under dotted keys."""
    found: Json = {}
    for key, value in config.items():
        found |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


def _forecast(forecast: Json, result: Json) -> Json:
    """Return [low, expected, high] and the actual figure of memory and time."""
    actual = {"seconds": history.took(result)}
    if "peak_rss_mib" in result:
        actual["memory_bytes"] = result["peak_rss_mib"] << 20
    return {
        name: {"forecast": forecast[name], "actual": actual.get(name)}
        for name in ("memory_bytes", "seconds")
        if name in forecast
    }


def _sizes(folder: Path, *, whole: bool = False) -> dict[str, int]:
    """Return name → bytes of what lies in a folder, or of the folder itself."""
    if not folder.is_dir():
        return {}
    places = [folder] if whole else sorted(p for p in folder.iterdir() if p.name[0] != ".")
    return {p.name: _bytes(p) for p in places}


def _bytes(path: Path) -> int:
    inside = path.rglob("*") if path.is_dir() else [path]
    return sum(p.stat().st_size for p in inside if p.is_file())


def follow_run(
    folder: Path, emit: Emit = ignore, sleep: Callable[[float], None] = time.sleep
) -> RunSummary:
    """Emit a run's events from its beginning, then as they happen, until nobody works on it.

    A run that lives inside another program has no events: then its end is all there is to wait for.
    """
    offset = 0
    while True:
        is_running = run_folders.is_running(
            folder
        )  # asked first: the last events are then complete
        for end, event in follow(folder / EVENTS, offset):
            offset = end
            emit(event)
        if not is_running:
            return run_folders.summary(folder)
        sleep(_POLL_S)


def resume(folder: Path, emit: Emit = ignore, level: str = "exact") -> Json:
    """Go on with a stopped run; return its result. `level`: under which changed conditions.

    Raises: UsageError("still-running"), NotFound.
    """
    if run_folders.is_running(folder):
        raise UsageError(
            "still-running",
            f"the run {folder.name!r} is running",
            hint=f"stead runs follow {folder}",
        )
    plan = run_folders.plan_of(folder)
    if not plan["config"]:
        raise NotFound("no-plan", f"{str(folder)!r} holds no plan to go on with")
    placed = Plan.from_json(plan).placed(folder)
    spec = {"plan": placed.to_json(), "resume": level}
    return train(spec, folder, emit, placed.config.launch)


def cancel(
    folder: Path, timeout_s: float, sleep: Callable[[float], None] = time.sleep
) -> RunSummary:
    """Ask a run's worker to save at its present step and end; return the run as it then is.

    Raises: UsageError("not-running" | "not-ours"), ProcessError("still-alive") after `timeout_s`.
    """
    end = time.monotonic() + timeout_s
    pid = _worker(folder, end, sleep)
    os.kill(pid, signal.SIGTERM)
    while run_folders.is_running(folder):
        if time.monotonic() > end:
            raise ProcessError(
                "still-alive", f"worker {pid} of {folder.name!r} has not ended in {timeout_s:g} s",
                hint=f"stead runs follow {folder}",
            )  # fmt: skip
        sleep(_POLL_S)
    return run_folders.summary(folder)


def _worker(folder: Path, end: float, sleep: Callable[[float], None]) -> int:
    """Return the worker's process id; wait for one that is being started."""
    while True:
        pid = run_folders.worker(folder)
        if pid:
            return pid
        inside = lease.holder(folder / ".lease") is not None
        if inside or not run_folders.is_running(folder) or time.monotonic() > end:
            raise _cannot_cancel(folder)
        sleep(_POLL_S)


def _cannot_cancel(folder: Path) -> UsageError:
    other = lease.holder(folder / ".lease")
    if other is not None:
        return UsageError(
            "not-ours",
            f"the run {folder.name!r} lives inside another program (process {other}); stop it there",
        )
    state = run_folders.summary(folder).state
    return UsageError(
        "not-running", f"the run {folder.name!r} is not running: its state is {state}"
    )


def recipe(folder: Path) -> Json:
    """Return the recipe a run was planned by, without its place. Raises: NotFound("no-plan")."""
    config: Json = run_folders.plan_of(folder)["config"]
    if not config:
        raise NotFound("no-plan", f"{folder.name!r} holds no plan")
    return {k: v for k, v in config.items() if k != "out"}


def changed(config: Json, changes: Json) -> Json:
    """Return a recipe with dotted keys set to other values. Raises: ConfigError for a key below a value."""
    return assign(from_mapping(config, "run"), changes, "request").data


_RESULTS = ("final_loss", "mean_loss", "eval_loss", "steps", "tokens", "tokens_per_s", "seconds", "peak_rss_mib")  # fmt: skip


def compare(folders: list[Path]) -> Comparison:
    """Lay runs side by side."""
    configs = [flat(run_folders.plan_of(p)["config"]) for p in folders]
    keys = sorted({k for c in configs for k in c} - {"name", "out"})
    rows = {k: [c.get(k) for c in configs] for k in keys}
    results = [run_folders.result(p) for p in folders]
    scores = [_scores(r) for r in results]
    names = sorted({n for s in scores for n in s})
    return Comparison(
        [run_folders.summary(p) for p in folders],
        {k: v for k, v in rows.items() if any(x != v[0] for x in v)},
        {n: [r.get(n) for r in results] for n in _RESULTS}
        | {n: [s.get(n) for s in scores] for n in names},
        [curves.metrics(p / "metrics.jsonl").get("loss", []) for p in folders],
    )


def _scores(result: Json) -> Json:
    """Return the evaluation's values by metric, if the run measured any."""
    found = result.get("scores", {})
    return {n: s.get("tuned", s.get("value")) for n, s in found.items() if isinstance(s, dict)}
