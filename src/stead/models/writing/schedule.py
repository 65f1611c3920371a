"""The one thread that writes for everybody: new requests join, finished and cancelled ones leave, between tokens.

Knows nothing about chats or protocols: rows in, and a call back after each token of a row. The thread
exists only while there is work, so an idle model is held by nobody.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from stead.core.errors import BackendTimeout, ResourceError, SteadError, UsageError
from stead.core.process import stop_requested
from stead.models.writing.batch import Batch, cache_bytes_per_token, inference
from stead.models.writing.generate import stop_signal
from stead.models.writing.row import Row
from stead.models.writing.slots import SlotBatch
from stead.models.writing.turns import Turns
from stead.values import LoadedModel

_IDLE_S = 0.05  # the thread ends after so long without work; starting one is cheap
_WINDOW = 64  # waiting rows that are looked at together, so that like lengths are read together
_RETRY_AFTER_S = 1


class Writer(Protocol):
    """A running batch, as the scheduler sees it."""

    def __len__(self) -> int: ...

    @property
    def capacity(self) -> int:
        """How many tokens one row may have, prompt included."""

    def admit(self, waiting: "deque[Row]") -> list[Row]:
        """Take what fits out of `waiting`; return rows that got a token by it."""

    def step(self) -> list[Row]:
        """Write; return rows that got a token."""

    def drop(self, gone: Callable[[Row], bool]) -> None:
        """Forget rows."""


@dataclass(slots=True, eq=False)
class Job:
    """One request: its rows, and whom to tell. `told` and `over` are called in the scheduler's thread.

    Setting `gone` from any thread ends the work before the next token; `over` is not called then.
    """

    rows: Sequence[Row]
    told: Callable[[Row], None]
    over: Callable[[BaseException | None], None]
    deadline: float | None = None  # of time.monotonic()
    gone: bool = False

    @property
    def is_done(self) -> bool:
        """Say whether every row is finished."""
        return all(row.reason is not None for row in self.rows)


class Scheduler:
    """Share one model among all who ask. `queue` bounds the rows that wait; None: no bound.

    `lock` is taken around each token, so that others may use the model between two.
    """

    def __init__(
        self, loaded: LoadedModel, make: Callable[[], Writer], lock: Turns,
        *, queue: int | None = None,
    ) -> None:  # fmt: skip
        self._loaded, self._make, self._lock, self._queue = loaded, make, lock, queue
        self._writer: Writer | None = None
        self._jobs: dict[Row, Job] = {}
        self._waiting: deque[Row] = deque()
        self._new: deque[Job] = deque()
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def at_work(self) -> int:
        """How many rows are waiting or being written."""
        with self._change:
            return len(self._jobs) + sum(len(j.rows) for j in self._new)

    def prepare(self) -> None:
        """Make the batch unless there is one; it takes seconds for a large model."""
        with self._change:
            if self._writer is None:
                self._writer = self._make()

    @property
    def capacity(self) -> int:
        """How many tokens one row may have, prompt included."""
        self.prepare()
        assert self._writer is not None  # noqa: S101 - `prepare` has made it
        return self._writer.capacity

    def submit(self, job: Job) -> None:
        """Hand a request over.

        Raises: ResourceError("overloaded"), status 429, when too many wait; UsageError("no-memory"),
        when a row can never fit into the memory for keys and values.
        """
        capacity = self.capacity
        for row in job.rows:
            _check_fits(capacity, row)
        with self._change:
            waiting = len(self._waiting) + sum(len(j.rows) for j in self._new)
            if self._queue is not None and waiting >= self._queue:
                raise ResourceError(
                    "overloaded",
                    f"{waiting} answers wait for the model already",
                    status=429,
                    retry_after_s=_RETRY_AFTER_S,
                )
            self._new.append(job)
            self._change.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="write", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._change:
                if not self._jobs and not self._new and not self._change.wait(_IDLE_S):
                    self._thread = None
                    return
                arrived = list(self._new)
                self._new.clear()
                for job in arrived:  # still under the lock: `submit` counts who waits
                    self._accept(job)
            try:
                self._turn()
            except Exception as error:
                self._fail(_explained(error))

    def _accept(self, job: Job) -> None:
        unfinished = [row for row in job.rows if row.reason is None]
        for row in unfinished:
            self._jobs[row] = job
        self._waiting.extend(unfinished)
        if not unfinished:
            job.over(None)

    def _turn(self) -> None:
        """One token for everybody, after those who left have left."""
        assert self._writer is not None  # noqa: S101 - `submit` has made it
        if stop_requested.is_set():
            stop_signal()
        self._leave()
        if not self._jobs:
            return
        with self._lock, inference(self._loaded):
            self._tell(self._writer.admit(self._waiting))
            if len(self._writer):
                self._tell(self._writer.step())
        time.sleep(0)  # let whoever waits for the interpreter have it

    def _tell(self, moved: Sequence[Row]) -> None:
        for row in moved:
            job = self._jobs[row]
            if not job.gone:
                job.told(row)
            if row.reason is not None:
                del self._jobs[row]
                if job.is_done and not job.gone:
                    job.over(None)

    def _leave(self) -> None:
        """Let go of requests that were cancelled or are too late."""
        now = time.monotonic()
        jobs = {id(j): j for j in self._jobs.values()}.values()
        for job in jobs:
            if job.deadline is not None and now > job.deadline and not job.gone:
                job.gone = True
                job.over(BackendTimeout("deadline", "the deadline of the request has passed"))
        if any(job.gone for job in jobs):
            assert self._writer is not None  # noqa: S101 - as above
            self._writer.drop(lambda row: self._jobs[row].gone)
            self._waiting = deque(r for r in self._waiting if not self._jobs[r].gone)
            self._jobs = {r: j for r, j in self._jobs.items() if not j.gone}

    def _fail(self, error: BaseException) -> None:
        with self._change:
            jobs = {id(j): j for j in (*self._jobs.values(), *self._new)}.values()
            self._jobs.clear()
            self._waiting.clear()
            self._new.clear()
            self._writer = self._make()
        for job in jobs:
            if not job.gone:
                job.over(error)


def _check_fits(capacity: int, row: Row) -> None:
    if len(row.prompt) + row.limit > capacity:
        raise UsageError(
            "no-memory",
            f"{len(row.prompt)} prompt tokens and up to {row.limit} more do not fit into the memory "
            "for keys and values; ask for fewer max_tokens",
            param="max_tokens",
        )


def _explained(error: Exception) -> BaseException:
    if isinstance(error, SteadError):
        return error
    if isinstance(error, MemoryError) or "memory" in str(error):
        return ResourceError("out-of-memory", f"the model ran out of memory: {error}", status=503)
    return error


class SlotWriter(SlotBatch):
    """Fused layers under a scheduler: who came first is read first."""

    def admit(self, waiting: "deque[Row]") -> list[Row]:
        """Take rows while there is room; their prompts are read by the steps."""
        while self.put_back:
            waiting.appendleft(self.put_back.pop())
        while waiting and self.takes(waiting[0]):
            self.add(waiting.popleft())
        return []


class PlainWriter(Batch):
    """transformers' own layers under a scheduler: any family, any device."""

    def __init__(
        self, loaded: LoadedModel, stop_ids: frozenset[int], *, rows: int, budget_bytes: int
    ) -> None:
        super().__init__(loaded, stop_ids, rows=rows, budget_bytes=budget_bytes)
        self._token_bytes = cache_bytes_per_token(loaded)
        self._limit = budget_bytes

    def step(self) -> list[Row]:
        """Write a token in every row; return them all."""
        rows = list(self._rows)
        super().step()
        return rows

    @property
    def capacity(self) -> int:
        """How many tokens one row may have, prompt included."""
        return self._limit // self._token_bytes

    def admit(self, waiting: "deque[Row]") -> list[Row]:
        """Read prompts of the first rows that wait, like lengths together."""
        near = sorted((waiting[i] for i in range(min(_WINDOW, len(waiting)))), key=lambda r: len(r.prompt))  # fmt: skip
        if not near or not self.wants_rows(near):
            return []
        before = {id(r): r for r in near}
        self.join_rows(near)
        left = {id(r) for r in near}
        taken = [r for key, r in before.items() if key not in left]
        gone = {id(r) for r in taken}
        rest = [r for r in waiting if id(r) not in gone]
        waiting.clear()
        waiting.extend(rest)
        return taken
