"""What finished runs needed against what was forecast, one JSON line per run in the data directory.

Knows nothing about how forecasts are made or corrected. A torn last line is skipped. Deleting the
file only forgets.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stead.config.run import RunConfig
from stead.core.paths import Home
from stead.planning.plan import PastError, Plan

VERSION = 2  # of a record
_KEPT = 400  # the newest runs are read; machines and code change
_RECENT = 12  # runs whose error is printed beside a forecast
_START_S = 60.0  # a process older than this when training begins was not started for it
Record = dict[str, Any]  # Any: JSON values


def path(home: Home) -> Path:
    """Return the file of records."""
    return home.cache / "system" / "forecasts.jsonl"


def key(config: RunConfig, device_name: str) -> dict[str, str]:
    """Return what makes runs alike: what computes, number type, method, adapter."""
    return {
        "device": config.model.device,
        "name": device_name,
        "dtype": config.model.dtype,
        "method": config.method.type,
        "adapter": config.adapter.type,
    }


def record(plan: Plan, measured: Mapping[str, Any], home: Home) -> None:
    """Append what a finished run needed. `measured`: the run's "measured", see pipeline/stages.

    A resumed or stopped run is no measure of a whole one and is left out, and so is a plan of an
    older version, which did not count parts.
    """
    if not measured.get("whole", False) or not plan.forecast.kind:
        return
    line = {
        "version": VERSION,
        "kind": plan.forecast.kind,
        "counted": counted(plan.forecast.counted, measured),
        "said": plan.forecast.said,
        "needed": needed(measured, on_cpu=plan.config.model.device == "cpu"),
        "rates": plan.forecast.rates,
        "ran_share": measured["ran_share"],
        "load": measured["load"],
        "plan": plan.hash,
    }
    target = path(home.ensure())
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "ab") as file:  # one write call: lines of two writers do not mix
        file.write(json.dumps(line, allow_nan=False).encode() + b"\n")


def counted(
    forecast: Mapping[str, Mapping[str, float]], measured: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Return the counted parts, with what is known better once the run is over."""
    found = {name: dict(parts) for name, parts in forecast.items()}
    memory = found.get("memory", {})
    if memory.get("process", 0) > 0:
        memory["process"] = float(measured["begun_bytes"])
    if measured.get("prepared_before", False):
        memory["rows"] = 0.0
        found.get("around", {})["prepare"] = 0.0
    return found


def needed(measured: Mapping[str, Any], *, on_cpu: bool) -> dict[str, float | None]:
    """Return what the run needed of each quantity; None where it cannot be told.

    Seconds are those of an idle machine: a run that waited for a core a third of the time it could
    run in took a third less.
    """
    share, steps = measured["ran_share"], measured["step_s"]
    inside, stage = measured["loop_s"], measured["stage_s"]
    start = _start(measured) * measured["begun_ran_share"]
    around = start + (inside - steps) * share + (stage - inside) * measured["stage_ran_share"]
    own = measured["peak_bytes"] > measured["begun_peak_bytes"]  # else an earlier peak hides ours
    peak = measured["peak_bytes"] if on_cpu else measured["device_peak_bytes"]
    return {
        "memory": float(peak) if peak is not None and (own or not on_cpu) else None,
        "steps": steps * share,
        "around": around,
        "seconds": steps * share + around,
        "disk": measured.get("disk_bytes"),
        "tokens": measured.get("tokens"),
    }


def took(result: Mapping[str, Any]) -> float | None:
    """Return the seconds of a whole run on its clock, from its process's start to its result.

    That is what a forecast speaks of: more than the steps' own `seconds`. None when a run was resumed
    or stopped, and so has no such time.
    """
    measured = result.get("measured", {})
    if not measured.get("whole", False):
        return None
    return float(_start(measured) + measured["stage_s"])


def _start(measured: Mapping[str, Any]) -> float:
    """Return the seconds before the stage, none for a process that was not started for it."""
    return float(measured["begun_s"]) if measured["begun_s"] < _START_S else 0.0


def read(home: Home) -> list[Record]:
    """Return the newest records, oldest first; lines that are no records are skipped."""
    target = path(home)
    if not target.is_file():
        return []
    found = []
    for line in target.read_bytes().splitlines()[-_KEPT:]:
        try:
            item = json.loads(line)
        except ValueError:
            continue
        if isinstance(item, dict) and item.get("version") == VERSION:
            found.append(item)
    return found


def past_error(records: Sequence[Record]) -> PastError:
    """Return the error of the last forecasts among `records`, as they were printed."""
    last = records[-_RECENT:]
    return PastError(
        len(last), *(_median(last, name) for name in ("memory", "seconds", "disk", "tokens"))
    )


def _median(records: Sequence[Record], quantity: str) -> float | None:
    errors = []
    for item in records:
        said, was = item["said"].get(quantity), item["needed"].get(quantity)
        if said is not None and was:
            errors.append(abs(said - was) / was)
    return statistics.median(errors) if errors else None
