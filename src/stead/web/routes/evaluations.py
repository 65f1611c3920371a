"""`/api/evaluations`, `/api/exports`: measure models beside one another; make files of them.

Knows nothing about scores or formats.
"""

from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from stead.app.orders import Orders
from stead.core.errors import ConfigError, NotFound
from stead.store.artefacts import Artefact
from stead.store.evaluations import Evaluation as Stored
from stead.web.deps import Asking, Here
from stead.web.guard import Guarded
from stead.web.job_shape import Key, job, ordered
from stead.web.report_shape import AnswerRow, Summary
from stead.web.shapes import After, Body, Job, Json, Limit, Ordered, Page, Words, iso

router = APIRouter(route_class=Guarded, tags=["evaluations"])
_SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"}
_KINDS = {"html": "text/html", "json": "application/json", "md": "text/markdown"}
Name = Annotated[str, Field(min_length=1, max_length=500)]


class Evaluation(BaseModel):
    """One evaluation; `summary` is the report without its rows, None before its end."""

    id: str
    title: str
    models: list[str]
    data: str
    metrics: list[str]
    created: str
    summary: Summary | None = None
    job: str | None = None
    run: str | None = None


class EvaluationOrder(Body):
    """What to measure. `against`: a model, or "base"; further `models` are measured each beside the first."""

    models: list[Name] = Field(min_length=1, max_length=8)
    against: Name | None = None
    data: Name
    metrics: list[Name] = Field(min_length=1, max_length=20)
    limit: int | None = Field(default=None, ge=1, lt=2**31)
    max_new_tokens: int = Field(default=256, ge=1, le=32_768)
    temperature: float = Field(default=0.0, ge=0, le=5)
    seed: int = Field(default=0, ge=0, lt=2**31)
    title: str | None = Field(default=None, max_length=200)


class Measuring(BaseModel):
    """The evaluations that were queued; `job` is the first of `jobs`."""

    job: Job
    jobs: list[Job]


class Export(BaseModel):
    """One file or folder that was made."""

    id: str
    name: str
    format: str
    quant: str | None = None
    path: str
    bytes: int
    sha256: str
    created: str
    job: str | None = None
    run: str | None = None


class ExportOrder(Body):
    """What to make a file of: a run's model, or a model by name."""

    run: Name | None = None
    model: Name | None = None
    format: str = Field(default="gguf", max_length=64)
    quant: str | None = Field(default=None, max_length=64)
    name: str | None = Field(default=None, max_length=96)


@router.get("/api/evaluations")
def list_evaluations(
    here: Here, run: Words = None, q: Words = None, limit: Limit = 50, after: After = None
) -> Page[Evaluation]:
    """List evaluations, newest first."""
    found = here.stores.evaluations.list(run=run, q=q, limit=limit, after=after)
    return Page(items=[_shape(row) for row in found.items], next=found.next, total=found.total)


@router.post("/api/evaluations", status_code=202)
def start_evaluation(here: Here, who: Asking, body: EvaluationOrder, key: Key = None) -> Measuring:
    """Queue one evaluation per model, or per model beside the first when there are several."""
    orders = Orders(here, who)
    spec = orders.reading(body.data) | {
        "metrics": list(body.metrics), "limit": body.limit,
        "max_new_tokens": body.max_new_tokens, "temperature": body.temperature, "seed": body.seed,
    }  # fmt: skip
    made = []
    for number, (model, against) in enumerate(_pairs(body)):
        asked = spec | {"model": orders.model(model)}
        if against is not None:
            asked["against"] = against if against == "base" else orders.model(against)
        if body.title is not None:
            asked["title"] = body.title
        each = None if key is None else f"{key}-{number}"
        made.append(job(orders.submit("evaluation", asked, title=body.title, key=each)))
    return Measuring(job=made[0], jobs=made)


def _pairs(body: EvaluationOrder) -> list[tuple[str, str | None]]:
    if body.against is not None:
        return [(model, body.against) for model in body.models]
    if len(body.models) == 1:
        return [(body.models[0], None)]
    return [(model, body.models[0]) for model in body.models[1:]]


@router.get("/api/evaluations/{evaluation_id}")
def get_evaluation(here: Here, evaluation_id: str) -> Evaluation:
    """Return one evaluation."""
    return _shape(here.stores.evaluations.get(evaluation_id))


@router.get("/api/evaluations/{evaluation_id}/rows")
def list_answers(
    here: Here,
    evaluation_id: str,
    offset: Annotated[int, Query(ge=0, lt=2**40)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[AnswerRow]:
    """Return rows with every answer and its scores."""
    path = _reports(here, evaluation_id) / "rows.jsonl"
    if not path.is_file():
        return Page(items=[], total=0)
    with open(path, "rb") as file:
        lines = list(islice(file, offset, offset + limit))
        more = sum(1 for _ in file)
    found = [AnswerRow.model_validate_json(line) for line in lines]
    total = offset + len(found) + more
    return Page(items=found, next=str(offset + limit) if more else None, total=total)


_TEXT = {"schema": {"type": "string"}}


@router.get(
    "/api/evaluations/{evaluation_id}/download",
    response_class=FileResponse,
    responses={200: {"content": dict.fromkeys(_KINDS.values(), _TEXT)}},
)
def download_report(
    here: Here, evaluation_id: str, format: Literal["html", "json", "md"] = "html"
) -> FileResponse:
    """Download the report."""
    path = _reports(here, evaluation_id) / f"report.{format}"
    if not path.is_file():
        raise NotFound("no-report", f"the evaluation {evaluation_id[:100]!r} has no report yet")
    name = f"evaluation-{evaluation_id}.{format}"
    return FileResponse(path, media_type=_KINDS[format], filename=name, headers=_SANDBOX)


@router.get("/api/exports")
def list_exports(
    here: Here, run: Words = None, limit: Limit = 50, after: After = None
) -> Page[Export]:
    """List the files that were made, newest first."""
    found = here.stores.artefacts.list(run=run, limit=limit, after=after)
    return Page(items=[_export(row) for row in found.items], next=found.next, total=found.total)


@router.post("/api/exports", status_code=202)
def start_export(here: Here, who: Asking, body: ExportOrder, key: Key = None) -> Ordered:
    """Queue an export."""
    if (body.run is None) == (body.model is None):
        raise ConfigError("one-model", "name either a run or a model", param="model")
    orders = Orders(here, who)
    spec: Json = {"format": body.format, "quant": body.quant}
    if body.run is not None:
        here.stores.runs.get(body.run)
    spec["model"] = orders.model(str(body.run if body.model is None else body.model))
    if body.name is not None:
        spec["name"] = body.name
    return ordered(orders.submit("export", spec, key=key))


def _reports(here: Here, evaluation_id: str) -> Path:
    return Path(here.stores.evaluations.get(evaluation_id).path) / "reports"


def _shape(row: Stored) -> Evaluation:
    summary = None if row.summary is None else Summary.model_validate(row.summary)
    return Evaluation(
        id=row.id, title=row.title, models=row.models, data=row.data, metrics=row.metrics,
        created=iso(row.created_at), summary=summary, job=row.job, run=row.run,
    )  # fmt: skip


def _export(row: Artefact) -> Export:
    return Export(
        id=row.id, name=row.name, format=row.format, quant=row.quant, path=row.path, bytes=row.bytes,
        sha256=row.sha256, created=iso(row.created_at), job=row.job, run=row.run,
    )  # fmt: skip
