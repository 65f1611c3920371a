"""What becomes of a job when its worker ends: one decision, from its last event and what was asked of it.

Knows nothing about processes or stores.
"""

from typing import Any

from stead.core.errors import ProcessError
from stead.store.job_states import Ending, Job

Json = dict[str, Any]  # Any: JSON values
MOST_FAILURES = 5  # in a row without progress; then whatever ends it will end it again
_LONGEST_DELAY_S = 60.0
_PASSING = ("BackendError", "BackendTimeout", "RateLimited")  # another time it may go well
_DISK = ("disk-full",)


def finished(result: Json) -> Ending:
    """Return the ending of a worker that said it is done, whatever was asked meanwhile."""
    return Ending("succeeded", result=result)


def failed(job: Job, error: Json) -> Ending:
    """Return the ending of a worker that said why it stopped."""
    if error.get("type") == "Interrupted":
        return _stopped(job, error)
    if job.request == "cancel":
        return Ending("cancelled", error=error)
    if error.get("code") in _DISK:
        return Ending("paused", error=error)  # goes on when there is room
    if error.get("type") in _PASSING:
        return again(job, error)
    return Ending("failed", error=error)


def _stopped(job: Job, error: Json) -> Ending:
    if job.request == "cancel":
        return Ending("cancelled")
    if job.request == "resume":
        return Ending("queued")
    return Ending("paused", error=None if job.request == "pause" else error)


def died(job: Job, status: int, last_words: str) -> Ending:
    """Return the ending of a worker that ended without a word."""
    if job.request == "cancel":
        return Ending("cancelled")
    if job.request == "pause":
        return Ending("paused")
    how = f"signal {-status}" if status < 0 else f"status {status}"
    message = f"the {job.kind} worker ended with {how}; last words: {last_words}"
    return again(job, ProcessError("worker-died", message, status=status).to_dict())


def again(job: Job, error: Json) -> Ending:
    """Queue a job again, later and later; give it up after too many failures in a row."""
    failures = job.failures + 1
    if failures > MOST_FAILURES:
        return Ending("failed", error=error, failures=failures, dead=True)
    delay_s = min(_LONGEST_DELAY_S, 2.0 ** (failures - 2)) if failures > 1 else 0.0
    return Ending("queued", error=error, failures=failures, delay_s=delay_s)
