"""How far a fine-tuning job is, in the words of OpenAI's API: the job, its events, its checkpoints.

Knows nothing about HTTP. Events are made of what the run's worker told, numbered by it, so that each has the same id
whenever it is asked for. Source: the published OpenAPI description of the OpenAI API (schemas FineTuningJob,
FineTuningJobEvent, FineTuningJobCheckpoint).
"""

from pathlib import Path
from typing import Any

from stead.app import checkpoint_models, run_reading
from stead.app.tuned import Tuned
from stead.store.job_states import TERMINAL
from stead.store.runs import Run, Runs

Json = dict[str, Any]  # Any: JSON values
_STATUS = {"pausing": "running"}  # every other state has the vendor's name
_HEAD = ("Created fine-tuning job: {0.id}", "Validating training file: {0.training_file}",
         "Files validated, moving job to queued state")  # fmt: skip  # the last: only of jobs with a run
_LAST = 2**52  # the number of what the run's own state says
_PAGE = 200
_METRICS = {
    "loss": "train_loss", "eval_loss": "valid_loss", "token_accuracy": "train_mean_token_accuracy",
    "eval_token_accuracy": "valid_mean_token_accuracy",
}  # fmt: skip
_END = {"paused": "The job has been paused", "cancelled": "The job has been cancelled"}


def job(tuned: Tuned, run: Run | None, now: float) -> Json:
    """Return the job object; `run` None: it has not begun. Times in seconds since 1970."""
    kind = tuned.method
    told: Json = {
        "object": "fine_tuning.job",
        "id": tuned.id,
        "created_at": int(tuned.created_at),
        "finished_at": None,
        "model": tuned.model,
        "fine_tuned_model": None,
        "organization_id": "stead",
        "status": state(tuned, run),
        "hyperparameters": {k: v for k, v in tuned.hyperparameters.items() if k != "beta"},
        "method": {"type": kind, kind: {"hyperparameters": tuned.hyperparameters}},
        "training_file": tuned.training_file,
        "validation_file": tuned.validation_file,
        "result_files": [],
        "trained_tokens": None,
        "estimated_finish": None,
        "error": _fault(tuned, run),
        "seed": tuned.seed,
        "integrations": [],
        "metadata": tuned.metadata,
    }
    return told | (_ended(tuned) if run is None else _measures(tuned, run, now))


def state(tuned: Tuned, run: Run | None) -> str:
    """Return how far a job is, in the vendor's words."""
    if run is not None:
        return _STATUS.get(run.state, run.state)
    if tuned.ended_at is None:
        return "validating_files"
    return "cancelled" if tuned.fault is None else "failed"


def _ended(tuned: Tuned) -> Json:
    return {} if tuned.ended_at is None else {"finished_at": int(tuned.ended_at)}


def _measures(tuned: Tuned, run: Run, now: float) -> Json:
    succeeded, is_over = run.state == "succeeded", run.state in TERMINAL
    left = run.seconds_left if run.state == "running" else None
    return {
        "finished_at": None if run.finished_at is None or not is_over else int(run.finished_at),
        "fine_tuned_model": tuned.name if succeeded else None,
        "result_files": [results_id(tuned)] if succeeded else [],
        "trained_tokens": run.tokens if is_over else None,
        "estimated_finish": None if left is None else int(now + left),
    }


def results_id(tuned: Tuned) -> str:
    """Return the id of the file of a job's results."""
    return f"file-results-{tuned.id[6:]}"


def results(tuned: Tuned, runs: Runs) -> bytes:
    """Return what was measured at each step, as CSV: step,train_loss,…; empty where nothing was."""
    found = runs.metrics(tuned.run, list(_METRICS), points=20_000)
    names = [name for name in _METRICS if name in found.series]
    lines = [",".join(["step", *(_METRICS[name] for name in names)])]
    for i, step in enumerate(found.steps):
        values = (found.series[name][i] for name in names)
        lines.append(",".join([str(step), *("" if v is None else f"{v:.6g}" for v in values)]))
    return "\n".join([*lines, ""]).encode()


def _fault(tuned: Tuned, run: Run | None) -> Json | None:
    if run is None:
        found = tuned.fault
        return None if found is None else {"code": found.code, "message": found.message, "param": found.param}  # fmt: skip
    if run.error is None or run.state != "failed":
        return None
    code = str(run.error.get("code", "failed")).replace("-", "_")
    return {"code": code, "message": str(run.error.get("message", "")), "param": None}


def events(tuned: Tuned, runs: Runs, after: str | None, limit: int) -> list[Json]:
    """Return at most `limit` events, the newest first: those older than the event `after`."""
    run = runs.get(tuned.run) if tuned.run else None
    before = _LAST + 1 if after is None else _number(tuned, after)
    found = [one for one in (_last(tuned, run),) if one is not None and before > _LAST]
    before -= len(_HEAD)
    while run is not None and len(found) < limit and before > 0:
        page = runs.events_before(run.id, before, _PAGE)
        told = (_told(tuned, run, one.number, one.body) for one in page)
        found += [one for one in told if one is not None]
        before = page[-1].number if len(page) == _PAGE else 0
    until = len(_HEAD) if run is not None else len(_HEAD) - 1
    until = until if after is None else min(until, _number(tuned, after))
    found += [
        _event(tuned, number, tuned.created_at, _HEAD[number].format(tuned))
        for number in reversed(range(until))
    ]
    return found[:limit]


def _number(tuned: Tuned, id_: str) -> int:
    """Return an event's number; 0, below all, for what is no event of this job."""
    start, _, number = id_.rpartition("-")
    is_ours = start == f"ftevent-{tuned.id[6:]}" and number.isascii() and number.isdigit()
    return int(number[:16]) if is_ours else 0


def _last(tuned: Tuned, run: Run | None) -> Json | None:
    ended = tuned.ended_at if run is None else run.finished_at
    at = tuned.created_at if ended is None else ended
    status = state(tuned, run)
    if status == "failed":
        fault = _fault(tuned, run)
        why = "" if fault is None else f": {fault['message']}"
        return _event(tuned, _LAST, at, f"The job failed{why}", level="error")
    return _event(tuned, _LAST, at, _END[status]) if status in _END else None


def _told(tuned: Tuned, run: Run, number: int, body: Json) -> Json | None:
    """Return the event for what the worker told; None for what is of no use here."""
    kind, at = body.get("event"), float(body.get("time", tuned.created_at))
    is_ours = body.get("stage") == "train"
    number += len(_HEAD)
    if kind == "progress" and is_ours:
        data = _measured(body, run)
        words = f"Step {data['step']}/{data['total_steps']}: training loss={data.get('train_loss', 0.0):.2f}"
        if "valid_loss" in data:
            words += f", validation loss={data['valid_loss']:.2f}"
        return _event(tuned, number, at, words, data=data) if len(data) > 2 else None
    if kind == "note":
        level = "warn" if body.get("level") == "warning" else "info"
        return _event(tuned, number, at, str(body.get("message", "")), level=level)
    words_of = {
        "started": "Fine-tuning job started",
        "saved": f"Checkpoint saved: {Path(str(body.get('path', ''))).name}",
        "finished": f"The job has successfully completed; new fine-tuned model created: {tuned.name}",
    }
    is_told = is_ours and kind in words_of and (kind != "saved" or body.get("what") == "checkpoint")
    return _event(tuned, number, at, words_of[str(kind)]) if is_told else None


def _measured(body: Json, run: Run) -> Json:
    values = body.get("values", {})
    found = {_METRICS[k]: v for k, v in values.items() if k in _METRICS and v is not None}
    return {"step": body["done"], "total_steps": run.steps} | found


def _event(
    tuned: Tuned,
    number: int,
    at: float,
    message: str,
    *,
    level: str = "info",
    data: Json | None = None,
) -> Json:
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{tuned.id[6:]}-{number}",
        "created_at": int(at),
        "level": level,
        "message": message[:1000],
        "type": "message" if data is None else "metrics",
        "data": {} if data is None else data,
    }


def checkpoints(tuned: Tuned, run: Run, runs: Runs) -> list[Json]:
    """Return the saved states that can be asked now, the newest first."""
    place = Path(run.out)
    found = [
        one
        for one in run_reading.checkpoints(place)
        if checkpoint_models.is_askable(place, one.step)
    ]
    points = runs.metrics(run.id, list(_METRICS), points=20_000)
    at_step = {
        step: {
            _METRICS[name]: values[i]
            for name, values in points.series.items()
            if values[i] is not None
        }
        for i, step in enumerate(points.steps)
    }
    return [
        {
            "object": "fine_tuning.job.checkpoint",
            "id": f"ftckpt-{tuned.id[6:]}-{one.step}",
            "created_at": int(one.at),
            "fine_tuned_model_checkpoint": f"{tuned.name}{checkpoint_models.MARK}{one.step}",
            "fine_tuning_job_id": tuned.id,
            "metrics": {"step": one.step} | at_step.get(one.step, {}),
            "step_number": one.step,
        }
        for one in found
    ]
