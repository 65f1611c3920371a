"""Jobs and runs of the store as the API tells them.

Knows nothing about routes.
"""

from typing import Annotated

from fastapi import Header, Query
from pydantic import BaseModel

from stead.store.job_states import Job as StoredJob
from stead.store.rows import Page as Rows
from stead.store.runs import Run as StoredRun
from stead.web.shapes import Fault, Job, JobState, Ordered, Page, fault, iso, iso_or_none

Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
State = Annotated[JobState | None, Query()]
Interval = tuple[float, float, float]  # low, expected, high


class Forecast(BaseModel):
    """What a run was expected to need: low, middle, high."""

    memory_bytes: Interval
    seconds: Interval


class Run(BaseModel):
    """One training run."""

    id: str
    name: str
    state: JobState
    method: str
    adapter: str
    model: str
    data: str
    created: str
    started: str | None = None
    finished: str | None = None
    step: int
    steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    tokens: int | None = None
    tokens_per_s: float | None = None
    seconds_left: float | None = None
    peak_bytes: int | None = None
    forecast: Forecast | None = None
    parent: str | None = None
    tags: list[str] = []
    out: str
    error: Fault | None = None
    job: str | None = None


_SAME = (
    "id", "name", "state", "method", "adapter", "model", "data", "step", "steps", "epoch", "loss", "eval_loss",
    "lr", "grad_norm", "tokens", "tokens_per_s", "seconds_left", "peak_bytes", "parent", "tags", "out", "job",
)  # fmt: skip


def run(row: StoredRun) -> Run:
    """Return a run as the API tells it."""
    same = {name: getattr(row, name) for name in _SAME}
    return Run(
        **same, created=iso(row.created_at), started=iso_or_none(row.started_at),
        finished=iso_or_none(row.finished_at), error=fault(row.error),
        forecast=None if row.forecast is None else Forecast(**row.forecast),
    )  # fmt: skip


def runs(page: Rows[StoredRun]) -> Page[Run]:
    """Return a part of the list of runs."""
    return Page(items=[run(row) for row in page.items], next=page.next, total=page.total)


def job(row: StoredJob) -> Job:
    """Return a job as the API tells it; what its worker was told stays inside."""
    return Job.model_validate(
        {
            "id": row.id, "kind": row.kind, "state": row.state, "title": row.title,
            "created": iso(row.created_at), "started": iso_or_none(row.started_at),
            "finished": iso_or_none(row.finished_at), "progress": row.progress,
            "attempts": row.starts, "priority": row.priority, "error": fault(row.error),
            "result": row.result, "run": row.run, "owner": row.owner,
        }
    )  # fmt: skip


def jobs(page: Rows[StoredJob]) -> Page[Job]:
    """Return a part of the list of jobs."""
    return Page(items=[job(row) for row in page.items], next=page.next, total=page.total)


def ordered(row: StoredJob) -> Ordered:
    """Return the answer to whoever ordered long work."""
    return Ordered(job=job(row))
