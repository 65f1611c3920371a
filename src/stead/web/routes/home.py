"""`/api/home`, `/api/hardware`, `/api/doctor`: what runs now, on what machine, and what to do first.

Knows nothing about any of it beyond asking.
"""

import time
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from stead.app import doctor
from stead.app.machine import Now
from stead.app.models import Models
from stead.web.deps import Here
from stead.web.guard import Guarded
from stead.web.job_shape import Run, run
from stead.web.shapes import Page

router = APIRouter(route_class=Guarded, tags=["machine"])
_USD = 1e12  # picodollars
_DAY_S = 86_400
_FIRST = (
    ("models", "Add a model", "Download a small model to begin with, or add one from a folder.", "/models"),
    ("datasets", "Bring your data", "Drop a file of examples: JSON lines, CSV, Parquet or text.", "/datasets"),
    ("runs", "Train your first model", "Choose a model and a data set; the plan says what it takes.", "/train"),
)  # fmt: skip


class Gpu(BaseModel):
    """One accelerator; `use` is the share of its memory that is taken."""

    name: str
    memory_bytes: int
    memory_free_bytes: int
    use: float


class Hardware(BaseModel):
    """The machine now."""

    cpu: str
    cores: int
    ram_bytes: int
    ram_free_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    load: float
    gpus: list[Gpu]
    process_bytes: int


class Spent(BaseModel):
    """What cloud models have cost, in UTC days and months."""

    today_usd: float
    month_usd: float


class Hint(BaseModel):
    """What to do first."""

    title: str
    detail: str
    href: str


class Home(BaseModel):
    """The first page."""

    running: list[Run]
    recent: list[Run]
    queue: int
    hardware: Hardware
    spend: Spent
    hints: list[Hint]


class Finding(BaseModel):
    """One check of the doctor."""

    check: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    hint: str | None = None


@router.get("/api/home")
def get_home(here: Here) -> Home:
    """Return what the first page shows."""
    runs = here.stores.runs
    recent = runs.list(limit=10)
    return Home(
        running=[run(r) for r in runs.list(state="running", limit=20).items],
        recent=[run(r) for r in recent.items],
        queue=here.stores.jobs.list(state="queued", limit=1).total,
        hardware=_machine(here.machine.now()),
        spend=_spent(here),
        hints=_hints(here, recent.total),
    )


@router.get("/api/hardware")
def get_hardware(here: Here) -> Hardware:
    """Return the machine now."""
    return _machine(here.machine.now())


@router.get("/api/doctor")
def examine(here: Here) -> Page[Finding]:
    """Check this installation."""
    found = [
        Finding(check=x.check, state=x.state, detail=x.detail, hint=x.hint)
        for x in doctor.examine(here.home)
    ]
    return Page(items=found, total=len(found))


def _machine(now: Now) -> Hardware:
    found = now.hardware
    gpus = [
        Gpu(name=g.name, memory_bytes=g.memory_bytes, memory_free_bytes=g.free_bytes,
            use=1 - g.free_bytes / g.memory_bytes if g.memory_bytes else 0.0)
        for g in found.gpus
    ]  # fmt: skip
    return Hardware(
        cpu=found.cpu, cores=found.cores, ram_bytes=found.ram_bytes, ram_free_bytes=found.ram_free_bytes,
        disk_bytes=now.disk_bytes, disk_free_bytes=found.disk_free_bytes, load=now.load, gpus=gpus,
        process_bytes=now.process_bytes,
    )  # fmt: skip


def _spent(here: Here) -> Spent:
    now = here.clock()
    at = time.gmtime(now)
    today = now - now % _DAY_S
    month = today - (at.tm_mday - 1) * _DAY_S
    days = here.accounts.spend.sums("day", since=month)
    name = time.strftime("%Y-%m-%d", at)
    return Spent(
        today_usd=sum(d.cost for d in days if d.name == name) / _USD,
        month_usd=sum(d.cost for d in days) / _USD,
    )


def _hints(here: Here, runs: int) -> list[Hint]:
    there = {
        "models": bool(Models(here.home).entries()),
        "datasets": here.stores.datasets.list(limit=1).total > 0,
        "runs": runs > 0,
    }
    return [Hint(title=t, detail=d, href=h) for name, t, d, h in _FIRST if not there[name]]
