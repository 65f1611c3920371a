"""The states of a job and the changes that are legal: one table.

Knows nothing about who changes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stead.core.errors import UsageError
from stead.store.rows import Json

State = Literal["queued", "running", "pausing", "paused", "succeeded", "failed", "cancelled"]
End = Literal["queued", "paused", "succeeded", "failed", "cancelled"]
Request = Literal["cancel", "pause", "resume"]

TRANSITIONS: Mapping[State, frozenset[State]] = {
    "queued": frozenset({"running", "paused", "cancelled"}),
    "running": frozenset(
        {"running", "pausing", "queued", "paused", "succeeded", "failed", "cancelled"}
    ),
    "pausing": frozenset({"pausing", "queued", "paused", "succeeded", "failed", "cancelled"}),
    "paused": frozenset({"queued", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""From each state, the states it may become; running → running is another holder taking over."""

TERMINAL = frozenset(state for state, after in TRANSITIONS.items() if not after)
HELD: tuple[State, ...] = ("running", "pausing")


def before(state: State) -> list[State]:
    """Return the states from which `state` can be reached."""
    return [one for one, after in TRANSITIONS.items() if state in after]


@dataclass(frozen=True, slots=True)
class Job:
    """One job. Times in Unix seconds (`until`: on the clock of `realm`), sizes in bytes.

    `attempt` is the fencing token: who holds another one has lost the job. `starts` counts workers.
    """

    id: str
    kind: str
    state: State
    title: str
    spec: Json
    fingerprint: str
    created_at: float
    owner: str | None = None
    priority: int = 0
    idempotency_key: str | None = None
    request: Request | None = None
    asked: Request | None = None
    attempt: int = 0
    starts: int = 0
    failures: int = 0
    memory_bytes: int = 0
    gpus: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    holder: str | None = None
    realm: str | None = None
    until: float | None = None
    pid: int | None = None
    pid_started: float | None = None
    folder: str | None = None
    tail: int = 0
    progress: float | None = None
    error: Json | None = None
    result: Json | None = None
    run: str | None = None
    retry_of: str | None = None
    dead: bool = False

    @property
    def subject(self) -> str:
        """Under which its events are stored: its run's id, or its own."""
        return self.id if self.run is None else self.run

    @property
    def is_over(self) -> bool:
        """Whether its state is terminal."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much all jobs that are held may take together; None: no limit."""

    memory_bytes: int | None = None
    gpus: int | None = None
    jobs: int | None = None

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return (self.memory_bytes, self.gpus, self.jobs) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended. `delay_s` and `failures` count when it goes back to the queue."""

    state: End
    result: Json | None = None
    error: Json | None = None
    delay_s: float = 0.0
    failures: int = 0
    dead: bool = False


def refused(job: Job, what: str) -> UsageError:
    """Return the error for something that a job's state does not allow; HTTP status 409."""
    return UsageError(
        "job-state",
        f"the job {job.id!r} is {job.state}: it cannot be {what}",
        hint=f"stead jobs show {job.id}",
        status=409,
        state=job.state,
    )
