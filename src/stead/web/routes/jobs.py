"""`/api/jobs`: what is queued, at work and over.

Knows nothing about what jobs do.
"""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from stead.web.deps import Here
from stead.web.guard import Guarded
from stead.web.job_shape import Key, State, job, jobs
from stead.web.shapes import After, Body, Job, JobKind, Limit, Page, Words

router = APIRouter(route_class=Guarded, tags=["jobs"])


class Priority(Body):
    """The new place in the queue; higher goes first."""

    priority: int = Field(ge=-1000, le=1000)


@router.get("/api/jobs")
def list_jobs(
    here: Here,
    state: State = None,
    kind: Annotated[JobKind | None, Query()] = None,
    q: Words = None,
    limit: Limit = 50,
    after: After = None,
) -> Page[Job]:
    """List jobs, newest first."""
    return jobs(here.jobs.list(state=state, kind=kind, q=q, limit=limit, after=after))


@router.get("/api/jobs/{job_id}")
def get_job(here: Here, job_id: str) -> Job:
    """Return one job."""
    return job(here.jobs.get(job_id))


@router.patch("/api/jobs/{job_id}")
def change_job(here: Here, job_id: str, body: Priority) -> Job:
    """Move a job in the queue."""
    return job(here.jobs.prioritize(job_id, body.priority))


@router.post("/api/jobs/{job_id}/cancel")
def cancel_job(here: Here, job_id: str) -> Job:
    """Cancel a job; its worker saves and ends."""
    return job(here.jobs.cancel(job_id))


@router.post("/api/jobs/{job_id}/pause")
def pause_job(here: Here, job_id: str) -> Job:
    """Let a job's worker save and end; resume goes on there."""
    return job(here.jobs.pause(job_id))


@router.post("/api/jobs/{job_id}/resume")
def resume_job(here: Here, job_id: str) -> Job:
    """Queue a paused job again."""
    return job(here.jobs.resume(job_id))


@router.post("/api/jobs/{job_id}/retry", status_code=202)
def retry_job(here: Here, job_id: str, key: Key = None) -> Job:
    """Queue a failed or cancelled job again, as a new one."""
    return job(here.jobs.retry(job_id, idempotency_key=key))
