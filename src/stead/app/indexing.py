"""Brings runs into the store that were made without it: `stead train` needs no database.

Knows nothing about jobs. A run that a job made is left alone; one that has gone on since is read again.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stead.app import job_events, run_folders
from stead.app.database import open_stores
from stead.app.run_folders import Json, RunSummary
from stead.app.runs import EVENTS
from stead.config.settings import read_settings
from stead.core import files
from stead.core.paths import Home
from stead.store.runs import Run
from stead.store.stores import Stores
from stead.training import forked

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_STATES = {"finished": "succeeded", "failed": "failed", "interrupted": "cancelled"}


def index(stores: Stores, home: Home) -> int:
    """Index every run folder that has ended; return how many were new or had changed."""
    found = [one for one in run_folders.runs(home) if one.state in _STATES]
    return sum(index_run(stores, home, one) for one in found)


def index_if_kept(home: Home, folder: Path) -> bool:
    """Index one run when this home has a store; say whether it did.

    Raises: ResourceError("database-unavailable").
    """
    if not home.database.is_file() and read_settings(home).value.database_url is None:
        return False
    with open_stores(home) as stores:
        one = run_folders.summary(folder)
        return one.state in _STATES and index_run(stores, home, one)


def index_run(stores: Stores, home: Home, one: RunSummary) -> bool:
    """Index one run that has ended; return whether it was new or had changed."""
    known = stores.runs.at(one.path)
    if known is not None and (known.job is not None or known.step == one.step):
        return False
    row = replace(_row(home, one), parent=_parent(stores, one))
    if known is not None:
        stores.runs.remove(known.id)
        row = Run(**{**_columns(row), "id": known.id, "tags": known.tags})
    path = Path(one.path) / EVENTS

    def work(connection: "Connection") -> None:
        stores.runs.add(row, connection)
        told = job_events.read(path, 0, "train", None, with_end=True)
        at = 0
        while told.tail > at:
            at = told.tail
            stores.runs.record(
                connection, row.id, told=told.events, points=told.points, values=told.values
            )
            told = job_events.read(path, at, "train", told.total, with_end=True)

    stores.database.transact(work)
    return True


def _parent(stores: Stores, one: RunSummary) -> str | None:
    """Return the run that a fork went on from, when the store knows it."""
    origin = forked.read(Path(one.path))
    parent = None if origin is None else stores.runs.at(origin.path)
    return None if parent is None else parent.id


def _columns(row: Run) -> Json:
    return {name: getattr(row, name) for name in Run.__dataclass_fields__}


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
        error=None if one.state != "failed" else {"code": "failed", "message": one.reason},
        result=result,
    )  # fmt: skip
