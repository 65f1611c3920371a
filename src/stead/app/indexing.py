"""Brings runs into the store that were made without it: `stead train` needs no database.

Knows nothing about jobs. A run that a job made is left alone; one that has gone on since is read on.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stead.app import job_events, run_folders
from stead.app.database import open_stores
from stead.app.run_folders import RunSummary
from stead.app.runs import EVENTS
from stead.config.settings import read_settings
from stead.core import files
from stead.core.paths import Home
from stead.store import run_index
from stead.store.runs import Run
from stead.store.stores import Stores
from stead.training.saving import forked

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_STATES = {
    "running": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "interrupted": "cancelled",
    "paused": "paused",
}
_ERRORS = {"failed": {"code": "failed"}, "paused": {"code": "disk-full"}}


def index(stores: Stores, home: Home) -> int:
    """Look at every run folder once; return how many were new or had changed."""
    return Index(stores, home).look()


def index_if_kept(home: Home, folder: Path) -> bool:
    """Index one run when this home has a store; say whether it did.

    Raises: ResourceError("database-unavailable").
    """
    if not home.database.is_file() and read_settings(home).value.database_url is None:
        return False
    with open_stores(home) as stores:
        return Index(stores, home).take(folder)


class Index:
    """Looks at run folders again and again; only those that were written to, or were alive, are read.

    Use from one thread. Several processes may look at once: each run is added once.
    """

    def __init__(self, stores: Stores, home: Home) -> None:
        self._stores, self._home = stores, home
        self._marks: dict[Path, Mark] = {}
        self._alive: set[Path] = set()
        self._of_jobs: set[Path] = set()
        self._tails: dict[str, int] = {}  # bytes of each event log that were read

    def look(self) -> int:
        """Return how many runs were new or had changed. Raises: ResourceError("database-unavailable")."""
        count = 0
        for folder in run_index.folders(self._home):
            if folder in self._of_jobs:
                continue
            mark = _mark(folder)  # before it is read: what is written meanwhile is seen next time
            if mark == self._marks.get(folder) and folder not in self._alive:
                continue
            count += run_folders.is_run(folder) and self.take(folder)
            self._marks[folder] = mark
        return count

    def take(self, folder: Path) -> bool:
        """Bring one run up to date; say whether there was anything new."""
        known = self._stores.runs.at(str(folder))
        if known is not None and known.job is not None:
            self._of_jobs.add(folder)
            return False
        one = run_folders.summary(folder)
        (self._alive.add if one.state == "running" else self._alive.discard)(folder)
        row = replace(_row(self._home, one), parent=_parent(self._stores, one))
        if known is not None and (known.step, known.state) == (row.step, row.state):
            return False
        row = row if known is None else replace(row, id=known.id)
        self._stores.database.transact(lambda connection: self._write(connection, row))
        return True

    def _write(self, connection: "Connection", row: Run) -> None:
        runs = self._stores.runs
        runs.add_once(row, connection)
        at, told = -1, job_events.read(Path(row.out) / EVENTS, self._tails.get(row.out, 0), "train", None, with_end=True)  # fmt: skip
        while told.tail > at:
            at = told.tail
            runs.record(connection, row.id, told=told.events, points=told.points, values=told.values)  # fmt: skip
            told = job_events.read(Path(row.out) / EVENTS, at, "train", told.total, with_end=True)
        runs.change(row.id, connection, **{name: getattr(row, name) for name in _LATER})
        self._tails[row.out] = at


Mark = tuple[tuple[int, int], ...]
_WRITTEN = (EVENTS, "metrics.jsonl", "result.json")
_LATER = (
    "state", "step", "steps", "loss", "eval_loss", "tokens_per_s", "started_at", "finished_at", "error", "result",
)  # fmt: skip


def _mark(folder: Path) -> Mark:
    """Return what shows that a run was written to: size and time of its files."""
    found = []
    for name in _WRITTEN:
        try:
            stat = (folder / name).stat()
        except FileNotFoundError:
            continue
        found.append((stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def _parent(stores: Stores, one: RunSummary) -> str | None:
    """Return the run that a fork went on from, when the store knows it."""
    origin = forked.read(Path(one.path))
    parent = None if origin is None else stores.runs.at(origin.path)
    return None if parent is None else parent.id


def _row(home: Home, one: RunSummary) -> Run:
    plan = run_folders.plan_of(Path(one.path))
    inside = Path(one.path).parent == home.runs.absolute()
    started = 0.0 if one.started is None else one.started
    result = run_folders.result(Path(one.path))
    forecast = {k: v for k, v in plan["forecast"].items() if k in ("memory_bytes", "seconds")}
    return Run(
        id=one.id if inside else f"{one.id}-{files.hash_value(one.path)[:8]}",
        name=one.id if one.name is None else one.name,
        state=_STATES[one.state], method=one.method, adapter=one.adapter, model=one.model,
        data=str(plan["config"].get("data", {}).get("path", "")), out=one.path, plan=plan.get("plan"),
        created_at=started, started_at=started, step=one.step, steps=one.total, loss=one.loss,
        finished_at=None if result.get("seconds") is None else started + float(result["seconds"]),
        eval_loss=one.eval_loss, tokens_per_s=one.tokens_per_s, forecast=forecast,
        error=_ERRORS[one.state] | {"message": one.reason} if one.state in _ERRORS else None,
        result=result,
    )  # fmt: skip
