"""The supervisor: claims jobs that fit this machine, watches their workers, adopts what another one left.

Knows nothing about what jobs do. It may be killed at any moment: workers go on, and the next supervisor
takes over when the lease has run out. Several may run; each job has one.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stead.app.job_kinds import KINDS, JobKind
from stead.app.watched import Watched
from stead.core.errors import ProcessError, ResourceError, SteadError
from stead.core.hardware import probe
from stead.core.paths import Home
from stead.store.job_states import Capacity, Ending, Job
from stead.store.stores import Stores

_LOG = logging.getLogger("stead.jobs")
_SHARE = 0.8  # of the machine's memory: the rest is the system's


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a supervisor does what. `lease_s`: after so long without a heartbeat its jobs are taken over."""

    lease_s: float = 10.0
    beat_s: float = 2.0
    poll_s: float = 0.2
    claim_s: float = 0.5


def capacity(home: Home, jobs: int = 4) -> Capacity:
    """Return what jobs may take together on this machine."""
    machine = probe(home.root)
    return Capacity(int(machine.ram_bytes * _SHARE), len(machine.gpus), jobs)


class Supervisor:
    """Runs jobs of one store. One thread calls `run`, or `tick` again and again."""

    def __init__(
        self,
        stores: Stores,
        limits: Capacity,
        *,
        rhythm: Rhythm | None = None,
        clock: Callable[[], float] = time.time,
        name: str | None = None,
        kinds: Mapping[str, JobKind] = KINDS,
    ) -> None:
        self.name = uuid.uuid4().hex[:12] if name is None else name
        self._stores = stores
        self._limits = limits
        self._rhythm = Rhythm() if rhythm is None else rhythm
        self._clock = clock
        self._kinds = kinds
        self._watched: dict[str, Watched] = {}
        self._next_beat = 0.0
        self._next_claim = 0.0

    @property
    def held(self) -> int:
        """How many jobs it watches."""
        return len(self._watched)

    def run(self, stop: threading.Event, *, drain: bool = False) -> None:
        """Work until `stop` is set, or with `drain` until no job is left; workers then go on without us.

        While the database cannot be reached, workers go on and nothing is claimed.
        """
        is_away = False
        while not stop.is_set():
            try:
                self.tick()
                if is_away:
                    _LOG.info("the database answers again")
                is_away = False
                if drain and not self._watched and not self._is_waiting():
                    break
            except ResourceError as error:
                if not is_away:  # said once, not each second
                    _LOG.warning("%s; workers go on", error)
                is_away = True
                stop.wait(1.0)
            stop.wait(self._rhythm.poll_s)
        self.leave()

    def leave(self) -> None:
        """Let go of every job; their workers go on, and the next supervisor adopts them at once."""
        held = [one.held for one in self._watched.values()]
        self._watched.clear()
        try:
            self._stores.jobs.release(held)
        except ResourceError as error:  # their leases run out by themselves
            _LOG.warning("%s", error)

    def tick(self) -> None:
        """Do once what is due."""
        now = time.monotonic()
        queue = self._stores.jobs
        held = [one.held for one in self._watched.values()]
        if held:
            if now >= self._next_beat:
                requests = queue.beat(held, self._rhythm.lease_s)
                self._next_beat = now + self._rhythm.beat_s
            else:
                requests = queue.requests(held)
            for job_id in [name for name in self._watched if name not in requests]:
                del self._watched[job_id]  # another holder has it
            for one in list(self._watched.values()):
                self._guarded(one, lambda one=one: one.step(requests[one.job.id]))  # type: ignore[misc]
        if now >= self._next_claim:
            self._next_claim = now + self._rhythm.claim_s
            self._fill()

    def _fill(self) -> None:
        queue, lease_s = self._stores.jobs, self._rhythm.lease_s
        for job in queue.take_over(self.name, lease_s):
            _LOG.info("job %s: adopted (attempt %d)", job.id, job.attempt)
            self._take(job)
        while True:
            claimed = queue.claim(
                self.name, lease_s, kinds=list(self._kinds), capacity=self._limits
            )
            if claimed is None:
                return
            self._take(claimed, start=True)

    def _take(self, job: Job, *, start: bool = False) -> None:
        kind = self._kinds.get(job.kind)
        if kind is None or job.folder is None:
            self._stores.jobs.end(job, Ending("failed", error=_strange(job).to_dict()))
            return
        one = Watched(self._stores, job, kind, self._clock)
        self._watched[job.id] = one
        if start:
            self._guarded(one, one.start)

    def _guarded(self, one: Watched, act: Callable[[], bool | None]) -> None:
        """Do something for one job; what fails is that job's end, and no other's."""
        try:
            if act():
                why = "" if one.job.error is None else f" ({one.job.error.get('message')})"
                _LOG.info("job %s: %s%s", one.job.id, one.job.state, why)
                self._watched.pop(one.job.id, None)
        except ResourceError as error:
            if error.code in ("database-unavailable", "database-busy"):
                raise
            self._fail(one, error)
        except SteadError as error:
            self._fail(one, error)
        except OSError as error:  # its folder cannot be made or written
            self._fail(
                one,
                ProcessError("no-start", f"cannot work in {one.job.folder!r}: {error.strerror}"),
            )

    def _fail(self, one: Watched, error: SteadError) -> None:
        self._watched.pop(one.job.id, None)
        if error.code == "lease-lost":
            _LOG.warning("job %s: %s", one.job.id, error)
            return
        try:
            self._stores.jobs.end(one.job, Ending("failed", error=error.to_dict()))
        except ProcessError as other:
            _LOG.warning("job %s: %s", one.job.id, other)

    def _is_waiting(self) -> bool:
        return self._stores.jobs.unfinished() > 0


def _strange(job: Job) -> ProcessError:
    return ProcessError("no-start", f"no worker is known for a job of kind {job.kind!r}")
