"""What a run leaves on disk: events, log, checkpoints, samples, artifacts, report.

Knows nothing about training. Files are sent as attachments, never as pages of this origin.
"""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel

from stead.app import run_reading
from stead.core.errors import NotFound
from stead.web.deps import Here
from stead.web.guard import Guarded
from stead.web.live import event_stream, last_id
from stead.web.shapes import Json, Page, iso

router = APIRouter(route_class=Guarded, tags=["runs"])
_SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"}


class Log(BaseModel):
    """Part of a worker's log; `next` is the `after` of the part that follows."""

    text: str
    next: int


class Checkpoint(BaseModel):
    """One saved state."""

    name: str
    step: int
    bytes: int
    created: str


class Artifact(BaseModel):
    """One file or folder that the run made; `name` is its path below the run."""

    name: str
    bytes: int
    created: str


class Sample(BaseModel):
    """What the model answered after a step; `stopped`: it ended by itself."""

    step: int
    prompt: str
    answer: str
    tokens: int
    stopped: bool


@router.get(
    "/api/runs/{run_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_events(here: Here, request: Request, run_id: str) -> StreamingResponse:
    """Follow a run's numbered events as server-sent events, from `Last-Event-ID` or `?after=` on."""
    return await event_stream(request, run_reading.follower(here.stores, run_id), last_id(request))


@router.get("/api/runs/{run_id}/log")
def get_log(here: Here, run_id: str, after: Annotated[int, Query(ge=0, lt=2**63)] = 0) -> Log:
    """Return what the worker wrote, from a byte on."""
    text, end = run_reading.log(_folder(here, run_id), after)
    return Log(text=text, next=end)


@router.get("/api/runs/{run_id}/checkpoints")
def list_checkpoints(here: Here, run_id: str) -> Page[Checkpoint]:
    """List the saved states, newest first."""
    found = [
        Checkpoint(name=x.name, step=x.step, bytes=x.bytes, created=iso(x.at))
        for x in run_reading.checkpoints(_folder(here, run_id))
    ]
    return Page(items=found, total=len(found))


@router.get("/api/runs/{run_id}/samples")
def list_samples(here: Here, run_id: str) -> Page[Sample]:
    """List what the model answered during training, where the run asked it."""
    found = [
        Sample.model_validate(one)
        for one in run_reading.samples(_folder(here, run_id))
        if Sample.model_fields.keys() <= one.keys()
    ]
    return Page(items=found, total=len(found))


@router.get("/api/runs/{run_id}/artifacts")
def list_artifacts(here: Here, run_id: str) -> Page[Artifact]:
    """List what the run made: the final model, exports, reports."""
    found = [
        Artifact(name=x.name, bytes=x.bytes, created=iso(x.at))
        for x in run_reading.artifacts(_folder(here, run_id))
    ]
    return Page(items=found, total=len(found))


_FILE: dict[int | str, Json] = {
    200: {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    }
}


@router.get(
    "/api/runs/{run_id}/artifacts/{name:path}", response_class=FileResponse, responses=_FILE
)
def get_artifact(here: Here, run_id: str, name: str) -> FileResponse:
    """Download one file."""
    path = run_reading.artifact(_folder(here, run_id), name)
    return FileResponse(
        path, media_type="application/octet-stream", filename=path.name, headers=_SANDBOX
    )


@router.get(
    "/api/runs/{run_id}/report",
    response_class=FileResponse,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
)
def get_report(here: Here, run_id: str) -> FileResponse:
    """Download the page that tells of the run."""
    folder = _folder(here, run_id)
    for path in (folder / "report.html", folder / "reports" / "report.html"):
        if path.is_file() and not path.is_symlink():
            return FileResponse(path, media_type="text/html", filename=f"{run_id}.html", headers=_SANDBOX)  # fmt: skip
    raise NotFound("no-report", f"the run {run_id[:100]!r} has no report yet")


def _folder(here: Here, run_id: str) -> Path:
    return Path(here.stores.runs.get(run_id).out)
