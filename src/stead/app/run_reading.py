"""What lies in a run's folder, for whoever looks at it from outside: log, checkpoints, samples, artifacts, events.

Knows nothing about HTTP. Names from outside become files only through `core/paths`; symbolic links are not
followed.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.app.runs import LOG
from stead.core import paths
from stead.core.errors import NotFound
from stead.store.job_states import TERMINAL
from stead.store.stores import Stores

Json = dict[str, Any]  # Any: JSON values
Told = list[tuple[int, Json]]
_LOG_BYTES = 256 * 1024
_SAMPLES = 500
_STEP = re.compile(r"step-(\d{1,18})")
_PLACES = ("final", "artifacts", "reports")


@dataclass(frozen=True, slots=True)
class Lying:
    """A file or folder of a run. Time in Unix seconds."""

    name: str
    bytes: int
    at: float
    step: int = 0


def follower(stores: Stores, run_id: str) -> Callable[[int], tuple[Told, bool]]:
    """Return what reads the events after a number, and whether more may come. Raises: NotFound("no-run")."""

    def read(after: int) -> tuple[Told, bool]:
        is_over = (
            stores.runs.get(run_id).state in TERMINAL
        )  # asked first: the end is then in what is read
        found = stores.runs.events_after(run_id, after)
        return [(event.number, event.body) for event in found], not (is_over and not found)

    return read


def log(folder: Path, after: int = 0) -> tuple[str, int]:
    """Return part of the worker's log from a byte on, and the byte after it; whole lines where it can."""
    path = folder / LOG
    if not path.is_file() or path.is_symlink():
        return "", after
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(min(after, size))
        data = file.read(_LOG_BYTES)
    end = data.rfind(b"\n") + 1
    data = data[:end] if end else data
    return data.decode("utf-8", "replace"), min(after, size) + len(data)


def checkpoints(folder: Path) -> list[Lying]:
    """Return the saved states, newest first."""
    place = folder / "checkpoints"
    found = []
    for path in place.iterdir() if place.is_dir() else ():
        match = _STEP.fullmatch(path.name)
        if match is not None and path.is_dir() and not path.is_symlink():
            found.append(_lying(path, folder, int(match[1]), path.name))
    return sorted(found, key=lambda one: -one.step)


def samples(folder: Path) -> list[Json]:
    """Return the newest answers that the run wrote down while it trained, oldest first."""
    path = folder / "samples.jsonl"
    if not path.is_file() or path.is_symlink():
        return []
    found = []
    for line in path.read_bytes().splitlines()[-_SAMPLES:]:
        try:
            value = json.loads(line)
        except ValueError:
            continue  # the line that is being written
        if isinstance(value, dict):
            found.append(value)
    return found


def artifacts(folder: Path) -> list[Lying]:
    """Return the files of the final model, exports and reports."""
    found = []
    for place in _PLACES:
        for path in sorted((folder / place).rglob("*")):
            if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                found.append(_lying(path, folder))
    report = folder / "report.html"
    return [*found, _lying(report, folder)] if report.is_file() else found


def artifact(folder: Path, name: str) -> Path:
    """Return one of those files. Raises: UnsafeError("outside"); NotFound("no-artifact")."""
    path = paths.inside(folder, name)
    place = name.split("/", 1)[0]
    if (place not in _PLACES and name != "report.html") or not path.is_file():
        raise NotFound("no-artifact", f"there is no artifact {name[:200]!r} in this run")
    return path


def _lying(path: Path, folder: Path, step: int = 0, name: str | None = None) -> Lying:
    inside = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    shown = path.relative_to(folder).as_posix() if name is None else name
    return Lying(shown, sum(p.stat().st_size for p in inside), path.stat().st_mtime, step)
