"""`/api/runs`: start, list, look at, compare and steer training runs.

Knows nothing about training. What a run leaves on disk is served by `web/routes/run_files`.
"""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from stead.app import run_control
from stead.app.orders import Orders
from stead.config.load import dump_yaml
from stead.core.errors import UsageError
from stead.store.job_states import TERMINAL
from stead.store.runs import Run as StoredRun
from stead.web.deps import Asking, Here
from stead.web.guard import Guarded
from stead.web.job_shape import Key, Run, State, job, run, runs
from stead.web.shapes import After, Body, Done, Job, Json, Limit, Page, Words

router = APIRouter(route_class=Guarded, tags=["runs"])
_MOST = 10  # runs side by side
Tag = Annotated[str, Field(min_length=1, max_length=64)]
Keys = Annotated[str | None, Query(max_length=1000, description="comma-separated names")]


class Training(Body):
    """A recipe to train by, as a mapping or as YAML."""

    config: Json | None = None
    yaml: str | None = Field(default=None, max_length=1_000_000)
    name: str | None = Field(default=None, min_length=1, max_length=200)
    tags: list[Tag] = Field(default=[], max_length=20)
    idempotency_key: str | None = Field(default=None, max_length=200)


class Started(BaseModel):
    """A run that was queued."""

    job: Job
    run: Run


class StartTraining(BaseModel):
    """The same in short."""

    job_id: str
    run_id: str
    status: str


class RunChange(Body):
    """What people may change of a run."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    tags: list[Tag] | None = Field(default=None, max_length=20)


class Fork(Body):
    """A new run by a former one's recipe; `changes` are dotted keys, `step` a checkpoint to go on from."""

    step: int | None = Field(default=None, ge=0, lt=10**8)
    changes: Json = Field(default={})
    name: str | None = Field(default=None, min_length=1, max_length=200)


class Metrics(BaseModel):
    """Series over the same steps, least and greatest values kept; null: no value there."""

    steps: list[int]
    series: dict[str, list[float | None]]
    last_event: int = Field(description="newest event that the series hold; follow after it")


class Difference(BaseModel):
    """A setting or result that is not the same in all runs, one value each."""

    field: str
    values: list[str | int | float | bool | list[Json] | list[str] | Json | None]


class Comparison(BaseModel):
    """Runs side by side. `series`: the loss of each by id, as [step, value]."""

    runs: list[Run]
    differences: list[Difference]
    series: dict[str, list[tuple[float, float]]]


@router.get("/api/runs")
def list_runs(
    here: Here, state: State = None, q: Words = None, limit: Limit = 50, after: After = None
) -> Page[Run]:
    """List runs, newest first."""
    return runs(here.stores.runs.list(state=state, q=q, limit=limit, after=after))


@router.post("/api/runs", status_code=202)
def start_run(here: Here, who: Asking, body: Training, key: Key = None) -> Started:
    """Queue a run; the answer does not wait for it. The same idempotency key starts it once."""
    return _start(here, who, body, key)


@router.post("/api/start_training", status_code=202)
def start_training(here: Here, who: Asking, body: Training, key: Key = None) -> StartTraining:
    """Queue a run and return its ids at once."""
    found = _start(here, who, body, key)
    return StartTraining(job_id=found.job.id, run_id=found.run.id, status=found.job.state)


def _start(here: Here, who: Asking, body: Training, key: str | None) -> Started:
    key = key if body.idempotency_key is None else body.idempotency_key
    made = Orders(here, who).train(
        body.config, body.yaml, name=body.name, tags=list(body.tags), key=key
    )
    return Started(job=job(made), run=run(here.stores.runs.get(str(made.run))))


@router.get("/api/runs/compare")
def compare_runs(here: Here, ids: Annotated[str, Query(max_length=1000)]) -> Comparison:
    """Lay runs side by side."""
    names = list(dict.fromkeys(name for name in ids.split(",") if name))
    if not 1 <= len(names) <= _MOST:
        raise UsageError("bad-ids", f"{len(names)} runs; 1 to {_MOST} can be compared", param="ids")
    rows = [here.stores.runs.get(name) for name in names]
    found = run_control.compare([Path(row.out) for row in rows])
    differences = [Difference(field=key, values=values) for key, values in found.settings.items()]
    differences += [Difference(field=f"result.{k}", values=v) for k, v in found.results.items()
                    if any(x != v[0] for x in v)]  # fmt: skip
    series = dict(zip(names, found.losses, strict=True))
    return Comparison(runs=[run(row) for row in rows], differences=differences, series=series)


@router.get("/api/runs/{run_id}")
def get_run(here: Here, run_id: str) -> Run:
    """Return one run."""
    return run(here.stores.runs.get(run_id))


@router.patch("/api/runs/{run_id}")
def change_run(here: Here, run_id: str, body: RunChange) -> Run:
    """Rename or tag a run."""
    values = {k: v for k, v in body.model_dump().items() if v is not None}
    return run(
        here.stores.runs.change(run_id, **values) if values else here.stores.runs.get(run_id)
    )


@router.delete("/api/runs/{run_id}")
def remove_run(here: Here, run_id: str) -> Done:
    """Remove a run that is over from the lists; its folder stays where it is."""
    found = here.stores.runs.get(run_id)
    if found.state not in TERMINAL:
        raise UsageError(
            "run-not-over", f"the run {run_id!r} is {found.state}; cancel it first", status=409
        )
    here.stores.runs.remove(run_id)
    return Done()


@router.get("/api/runs/{run_id}/metrics")
def get_metrics(
    here: Here,
    run_id: str,
    keys: Keys = None,
    from_step: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    to_step: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
    points: Annotated[int, Query(ge=2, le=20_000)] = 1000,
) -> Metrics:
    """Return what was measured from one step to another, thinned to about `points` places."""
    names = None if keys is None else [key for key in keys.split(",") if key]
    found = here.stores.runs.metrics(
        run_id, names, from_step=from_step, to_step=to_step, points=points
    )
    return Metrics(steps=found.steps, series=found.series, last_event=found.last_event)


@router.post("/api/runs/{run_id}/cancel")
def cancel_run(here: Here, run_id: str) -> Run:
    """End a run; what it saved stays."""
    here.jobs.cancel(_job_of(here, run_id))
    return run(here.stores.runs.get(run_id))


@router.post("/api/runs/{run_id}/pause")
def pause_run(here: Here, run_id: str) -> Run:
    """Let a run save and stop until it is resumed."""
    here.jobs.pause(_job_of(here, run_id))
    return run(here.stores.runs.get(run_id))


@router.post("/api/runs/{run_id}/resume", status_code=202)
def resume_run(here: Here, run_id: str) -> Run:
    """Go on with a paused run; one that failed or was cancelled is queued again."""
    found = here.stores.runs.get(run_id)
    if found.state in ("failed", "cancelled"):
        here.jobs.retry(_job_of(here, run_id))
    else:
        here.jobs.resume(_job_of(here, run_id))
    return run(here.stores.runs.get(run_id))


@router.post("/api/runs/{run_id}/fork", status_code=202)
def fork_run(here: Here, who: Asking, run_id: str, body: Fork) -> Started:
    """Queue a new run by this one's recipe with some settings changed, from a checkpoint or anew."""
    found = here.stores.runs.get(run_id)
    recipe = run_control.changed(_recipe(here, found), body.changes)
    name = body.name if body.name is not None else f"{found.name} (fork)"
    made = Orders(here, who).fork(found, recipe, name=name, step=body.step)
    return Started(job=job(made), run=run(here.stores.runs.get(str(made.run))))


class RunConfig(BaseModel):
    """A run's recipe, as YAML."""

    yaml: str


@router.get("/api/runs/{run_id}/config")
def get_config(here: Here, run_id: str) -> RunConfig:
    """Return the recipe of a run as YAML."""
    found: StoredRun = here.stores.runs.get(run_id)
    return RunConfig(yaml=dump_yaml(_recipe(here, found)))


def _recipe(here: Here, found: StoredRun) -> Json:
    """Return a run's recipe: from its job while it waits, else from its folder."""
    waiting = None if found.job is None else here.stores.jobs.find(found.job)
    if waiting is not None and "plan" in waiting.spec:
        config: Json = waiting.spec["plan"]["config"]
        return {k: v for k, v in config.items() if k != "out"}
    return run_control.recipe(Path(found.out))


def _job_of(here: Here, run_id: str) -> str:
    found = here.stores.runs.get(run_id)
    if found.job is None:
        raise UsageError(
            "no-job-of-run", f"the run {run_id!r} was started outside the platform", status=409,
            hint=f"stead runs cancel {run_id}",
        )  # fmt: skip
    return found.job
