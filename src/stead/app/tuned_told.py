"""How far a fine-tuning job is, in the words of OpenAI's API: the job, its events, its checkpoints.

Knows nothing about HTTP. Events are made of what the run's worker told, numbered by it, so that each has the same id
whenever it is asked for. Source: the published OpenAPI description of the OpenAI API (schemas FineTuningJob,
FineTuningJobEvent, FineTuningJobCheckpoint).
"""

from pathlib import Path
from typing import Any

from stead.app import run_reading
from stead.app.tuned import Tuned
from stead.store.job_states import TERMINAL
from stead.store.runs import Run, Runs

Json = dict[str, Any]  # Any: JSON values
_STATUS = {"pausing": "running"}  # every other state has the vendor's name
_HEAD = ("Created fine-tuning job: {0.id}", "Validating training file: {0.training_file}",
         "Files validated, moving job to queued state")  # fmt: skip
_LAST = 2**52  # the number of what the run's own state says
_PAGE = 200
_METRICS = {
    "loss": "train_loss", "eval_loss": "valid_loss", "token_accuracy": "train_mean_token_accuracy",
    "eval_token_accuracy": "valid_mean_token_accuracy",
}  # fmt: skip
_END = {"paused": "The job has been paused", "cancelled": "The job has been cancelled"}


def job(tuned: Tuned, run: Run, now: float) -> Json:
    """Return the job object. Times in seconds since 1970."""
    succeeded, is_over = run.state == "succeeded", run.state in TERMINAL
    kind = {"dpo": "dpo"}.get(tuned.method, "supervised")
    left = run.seconds_left if run.state == "running" else None
    return {
        "object": "fine_tuning.job",
        "id": tuned.id,
        "created_at": int(tuned.created_at),
        "finished_at": None if run.finished_at is None or not is_over else int(run.finished_at),
        "model": tuned.model,
        "fine_tuned_model": tuned.name if succeeded else None,
        "organization_id": "stead",
        "status": _STATUS.get(run.state, run.state),
        "hyperparameters": {k: v for k, v in tuned.hyperparameters.items() if k != "beta"},
        "method": {"type": kind, kind: {"hyperparameters": tuned.hyperparameters}},
        "training_file": tuned.training_file,
        "validation_file": tuned.validation_file,
        "result_files": [results_id(tuned)] if succeeded else [],
        "trained_tokens": run.tokens if is_over else None,
        "estimated_finish": None if left is None else int(now + left),
        "error": _fault(run),
        "seed": tuned.seed,
        "integrations": [],
        "metadata": tuned.metadata,
        "run_id": run.id,
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


def _fault(run: Run) -> Json | None:
    if run.error is None or run.state != "failed":
        return None
    code = str(run.error.get("code", "failed")).replace("-", "_")
    return {"code": code, "message": str(run.error.get("message", "")), "param": None}


def events(tuned: Tuned, runs: Runs, after: str | None, limit: int) -> list[Json]:
    """Return at most `limit` events, the newest first: those older than the event `after`."""
    run = runs.get(tuned.run)
    before = _LAST + 1 if after is None else _number(tuned, after)
    found = [one for one in (_last(tuned, run),) if one is not None and before > _LAST]
    before -= len(_HEAD)
    while len(found) < limit and before > 0:
        page = runs.events_before(run.id, before, _PAGE)
        told = (_told(tuned, run, one.number, one.body) for one in page)
        found += [one for one in told if one is not None]
        before = page[-1].number if len(page) == _PAGE else 0
    until = len(_HEAD) if after is None else min(len(_HEAD), _number(tuned, after))
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


def _last(tuned: Tuned, run: Run) -> Json | None:
    at = tuned.created_at if run.finished_at is None else run.finished_at
    if run.state == "failed":
        fault = _fault(run)
        why = "" if fault is None else f": {fault['message']}"
        return _event(tuned, _LAST, at, f"The job failed{why}", level="error")
    return _event(tuned, _LAST, at, _END[run.state]) if run.state in _END else None


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
    """Return the saved states that are still there, the newest first."""
    found = run_reading.checkpoints(Path(run.out))
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
            "fine_tuned_model_checkpoint": f"{tuned.name}:ckpt-step-{one.step}",
            "fine_tuning_job_id": tuned.id,
            "metrics": {"step": one.step} | at_step.get(one.step, {}),
            "step_number": one.step,
        }
        for one in found
    ]
