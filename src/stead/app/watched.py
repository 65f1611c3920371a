"""One worker that a supervisor watches: its events go into the store, requests go to it, its end ends the job.

Knows nothing about other jobs or leases. Each step writes in one transaction what was read and how far; the
worker's last event is written with the job's end, so nothing is lost or done twice wherever we are killed.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from stead.app import job_endings, job_events
from stead.app.job_events import Told
from stead.app.job_kinds import JobKind, Launch
from stead.app.runs import ALIVE, EVENTS, JOB, LOG
from stead.core import files, lease, process
from stead.core.working import HELD
from stead.store.job_states import Ending, Job, Request
from stead.store.stores import Stores

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_LEAVING_S = 30.0  # for a worker to end after its last event
_CANCEL_S = 60.0  # for a worker to save after it was asked to end; then it is killed
_PAUSE_S = 600.0


class Handle(Protocol):
    """A process that may not be our child."""

    def poll(self) -> int | None:
        """Return its status, or None while it runs."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its group."""


@dataclass(slots=True)
class Orphan:
    """A worker that somebody else started: known by the lease it holds, before that by pid and start time."""

    folder: Path
    pid: int | None
    started: float | None

    def poll(self) -> int | None:
        """Return SIGKILL's status once it is gone, because nobody else will know."""
        is_alive = lease.holder(self.folder / ALIVE) is not None or self._is_same()
        return None if is_alive else -signal.SIGKILL

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its group; a group that is gone is no error."""
        pid = lease.holder(self.folder / ALIVE)
        if pid is None and self._is_same():
            pid = self.pid
        if pid:
            with suppress(ProcessLookupError):
                process.signal_group(os.getpgid(pid), number)

    def _is_same(self) -> bool:
        if self.pid is None or self.started is None:
            return False
        try:
            found = psutil.Process(self.pid)
            is_it = abs(found.create_time() - self.started) < 1.0  # s; its resolution
            return is_it and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class Watched:
    """One job that is held. `step` is called again and again by one thread."""

    def __init__(
        self,
        stores: Stores,
        job: Job,
        kind: JobKind,
        clock: Callable[[], float],
    ) -> None:
        self.job = job
        self._stores, self._kind, self._clock = stores, kind, clock
        self._folder = Path(str(job.folder))
        self._handle: Handle = Orphan(self._folder, job.pid, job.pid_started)
        self._total: int | None = None
        self._silence_s: float | None = None
        self._heard: float | None = None
        self._asked_at: float | None = None
        self._ended_at: float | None = None

    @property
    def held(self) -> tuple[str, int]:
        """Job and attempt, as heartbeats name them."""
        return self.job.id, self.job.attempt

    def start(self) -> None:
        """Start the worker, unless one is at work already or has said its last word.

        Raises: what the kind's launch raises; ProcessError("no-start", "lease-lost").
        """
        if self._handle.poll() is None or self._look(with_end=False).ending is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        launch = self._kind.launch(self.job, self._folder / JOB)
        files.write_json(
            self._folder / JOB,
            {
                "verb": launch.verb,
                "spec": launch.spec,
                "job": self.job.id,
                "attempt": self.job.attempt,
            },
        )
        child = process.spawn(
            launch.argv,
            name=f"worker {launch.verb}",
            log=self._folder / LOG,
            env=launch.environment,
        )
        self._begun(child, launch)

    def _begun(self, child: process.Child, launch: Launch) -> None:
        self._handle, self._silence_s = child, launch.silence_s
        try:
            started: float | None = psutil.Process(child.pid).create_time()
        except psutil.NoSuchProcess:
            started = None
        self.job = self._stores.jobs.write(
            self.job, pid=child.pid, pid_started=started, starts=self.job.starts + 1
        )

    def step(self, request: Request | None) -> bool:
        """Store what is new, pass on what is asked; return whether the job is over for us.

        Raises: ProcessError("lease-lost") when another holder has it.
        """
        status = self._handle.poll()  # asked first: the last lines are then complete
        told = self._look(with_end=status is not None or self._is_late())
        ending = self._ending(told, status, request)
        if ending is not None:
            self._end(told, ending)
            return True
        if told.events:
            self._store(told)
        if status is None:
            self._pass_on(request)
            self._listen(told)
        return False

    def _look(self, *, with_end: bool) -> Told:
        path = self._folder / EVENTS
        return job_events.read(path, self.job.tail, self._kind.verb, self._total, with_end=with_end)

    def _is_late(self) -> bool:
        """Say whether the worker has said its last word long ago and still runs."""
        if self._ended_at is None:
            return False
        if time.monotonic() - self._ended_at < _LEAVING_S:
            return False
        self._handle.signal(signal.SIGKILL)
        return True

    def _ending(self, told: Told, status: int | None, request: Request | None) -> Ending | None:
        if told.ending is not None and self._ended_at is None:
            self._ended_at = time.monotonic()
        is_read = (
            told.ending is not None and bool(told.events) and told.events[-1].body is told.ending
        )
        if is_read:
            return self._said(told.ending, request)
        if status is None or told.events:
            return None  # at work, or more to read before it is judged
        if status == HELD:
            self._handle = Orphan(self._folder, None, None)
            return None
        return job_endings.died(self._with(request), status, self._last_words())

    def _said(self, event: job_events.Json | None, request: Request | None) -> Ending:
        found = {} if event is None else event
        if found.get("event") == "finished":
            return job_endings.finished(found.get("result", {}))
        return job_endings.failed(self._with(request), found.get("error", {}))

    def _with(self, request: Request | None) -> Job:
        return replace(self.job, request=request)

    def _last_words(self) -> str:
        try:
            text = (self._folder / LOG).read_text(errors="replace").strip()
        except FileNotFoundError:
            text = ""
        return " | ".join(text.splitlines()[-3:])[-2000:] if text else "(none)"

    def _record(self, told: Told) -> Callable[["Connection"], None]:
        def also(connection: "Connection") -> None:
            run = self.job.run
            if run is None:
                self._stores.runs.record(connection, self.job.id, told=told.events)
            else:
                self._stores.runs.record(
                    connection, run, told=told.events, points=told.points, values=told.values
                )

        return also

    def _store(self, told: Told) -> None:
        values: job_events.Json = {"tail": told.tail}
        best = 0.0 if self.job.progress is None else self.job.progress
        if told.progress is not None and told.progress > best:
            values |= {"progress": told.progress, "failures": 0}
        self.job = self._stores.jobs.write(self.job, self._record(told), **values)
        self._total = told.total

    def _end(self, told: Told, ending: Ending) -> None:
        record = self._record(told)

        def also(connection: "Connection") -> None:
            record(connection)
            if ending.state == "succeeded" and ending.result is not None:
                self._kind.effects(connection, self._stores, self.job, ending.result, self._clock())

        self.job = self._stores.jobs.end(self.job, ending, also, tail=told.tail)

    def _pass_on(self, request: Request | None) -> None:
        if request not in ("cancel", "pause"):
            return
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            if self.job.asked is None:  # a second signal would end it without saving
                self.job = self._stores.jobs.write(self.job, asked=request)
                self._handle.signal(signal.SIGTERM)
        elif now - self._asked_at > (_CANCEL_S if request == "cancel" else _PAUSE_S):
            self._handle.signal(signal.SIGKILL)

    def _listen(self, told: Told) -> None:
        """Kill a worker that reported a step and then says nothing for too long."""
        if told.points:
            last = max(points[-1][0] for points in told.points.values())
            self._heard = None if last == self._total else time.monotonic()
        elif told.events and self._heard is not None:
            self._heard = time.monotonic()
        if self._silence_s is None or self._heard is None:
            return
        if time.monotonic() - self._heard > self._silence_s:
            self._heard = None
            self._handle.signal(signal.SIGKILL)
