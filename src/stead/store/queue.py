"""The queue of jobs: submit, claim, heartbeat, finish, each one transaction guarded by a fencing token.

Knows nothing about what jobs do. A holder has (job, attempt) until its lease ends; whoever takes the job
over raises the attempt, and what the former holder writes later is refused. Terminal states do not
change. A job's run has the job's state, changed in the same transaction.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from stead.core.errors import NotFound, ProcessError, UsageError
from stead.store.db import Database
from stead.store.job_states import (
    HELD,
    TERMINAL,
    Capacity,
    Ending,
    Job,
    Request,
    State,
    before,
    refused,
)
from stead.store.lease_clock import LeaseClock
from stead.store.rows import Condition, Conditions, Page, Rows, columns, contains
from stead.store.tables import ATTEMPTS, JOBS, RUNS

Also = Callable[[Connection], object]
Held = tuple[str, int]  # job, attempt
Jobs = list[Job]
_CLAIMING = 0x57EAE  # PostgreSQL's advisory lock of whoever counts what is free
_HOLDS_NOTHING: dict[str, Any] = {
    "holder": None, "asked": None, "realm": None, "until": None, "pid": None, "pid_started": None,
}  # fmt: skip


class Queue(Rows[Job]):
    """The table of jobs. Thread-safe; all that hold jobs of one store share its folders."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(database, JOBS, Job, _missing)
        self._clock = clock
        self.lease = LeaseClock(database, monotonic)

    # What people ask for

    def submit(self, job: Job, also: Also | None = None) -> Job:
        """Add a job; return it, or the one that was added before with the same key and content.

        `also` is done in the same transaction when the job is new.
        Raises: UsageError("idempotency-conflict", status 409): the key came with another content.
        """
        insert = sqlite.insert if self.database.is_sqlite else postgresql.insert
        made = insert(JOBS).on_conflict_do_nothing(index_elements=["idempotency_key"])

        def work(connection: Connection) -> Job:
            row = connection.execute(made.values(**columns(job)).returning(JOBS.c.id)).first()
            if row is not None:
                if also is not None:
                    also(connection)
                return job
            found = self._keyed(connection, job.idempotency_key, job.fingerprint)
            if found is None:
                raise RuntimeError(f"the id {job.id!r} is taken")
            return found

        return self.database.transact(work)

    def keyed(self, key: str, fingerprint: str) -> Job | None:
        """Return the job that was submitted with a key, or None. Raises: as `submit`."""
        with self.database.read() as connection:
            return self._keyed(connection, key, fingerprint)

    def _keyed(self, connection: Connection, key: str | None, fingerprint: str) -> Job | None:
        query = sa.select(JOBS).where(JOBS.c.idempotency_key == key)
        row = connection.execute(query).first()
        if row is None:
            return None
        found = self.make(row)
        if found.fingerprint != fingerprint:
            raise UsageError(
                "idempotency-conflict",
                f"the key {key!r} was used for another request (job {found.id!r})",
                status=409,
            )
        return found

    def list(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        q: str | None = None,
        dead: bool | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Job]:
        """Return jobs, newest first."""
        where: Conditions = []
        for column, value in ((JOBS.c.state, state), (JOBS.c.kind, kind), (JOBS.c.dead, dead)):
            if value is not None:
                where.append(column == value)
        if q is not None and q.strip() != "":
            where.append(contains(q.strip(), JOBS.c.id, JOBS.c.title))
        return self.page(where, limit=limit, after=after)

    def ask(self, job_id: str, request: Request) -> Job:
        """Cancel, pause or resume: at once when nobody holds the job, else asked of its holder.

        Asking again for what is already so, or under way, changes nothing.
        Raises: NotFound("no-job"); UsageError("job-state", status 409).
        """
        at_once, held = _ASKED[request]

        def work(connection: Connection) -> Job:
            job = self._locked(connection, job_id)
            if job.state in _ALREADY[request] and job.request in (None, request):
                return job
            if job.state in at_once:
                return self._free(connection, job, at_once[job.state])
            if job.state in held:
                values = {"request": request, "state": held[job.state]}
                return self._moved(connection, job, held[job.state], values)
            raise refused(job, _PARTICIPLE[request])

        return self.database.transact(work)

    def set_priority(self, job_id: str, priority: int) -> Job:
        """Let a job go before those of lower priority. Raises: NotFound, UsageError("job-state")."""

        def work(connection: Connection) -> Job:
            job = self._locked(connection, job_id)
            if job.is_over:
                raise refused(job, "moved in the queue")
            return self.change(job_id, connection, priority=priority)

        return self.database.transact(work)

    # What holders do

    def claim(
        self,
        holder: str,
        lease_s: float,
        *,
        kinds: Sequence[str] | None = None,
        capacity: Capacity | None = None,
    ) -> Job | None:
        """Take the first queued job that fits what is free, or None.

        One that needs more than there is at all is taken when nothing else is held.
        """
        limits = Capacity() if capacity is None else capacity

        def work(connection: Connection) -> Job | None:
            fits = self._fits(connection, limits)
            if fits is None:
                return None
            now = self.lease.now(connection)
            where = [JOBS.c.state == "queued", *fits]
            where.append(
                JOBS.c.until.is_(None) | (JOBS.c.realm != self.lease.realm) | (JOBS.c.until <= now)
            )
            if kinds is not None:
                where.append(JOBS.c.kind.in_(list(kinds)))
            order = (JOBS.c.priority.desc(), JOBS.c.created_at, JOBS.c.id)
            first = sa.select(JOBS.c.id).where(*where).order_by(*order).limit(1)
            row = connection.execute(first.with_for_update(skip_locked=True)).first()
            return None if row is None else self._taken(connection, row.id, holder, now + lease_s)

        return self.database.transact(work)

    def take_over(self, holder: str, lease_s: float, most: int = 20) -> Jobs:
        """Take jobs whose holder has let its lease run out; each gets a new attempt."""

        def work(connection: Connection) -> Jobs:
            now = self.lease.now(connection)
            lost = (JOBS.c.realm != self.lease.realm) | (JOBS.c.until < now)
            query = sa.select(JOBS.c.id).where(JOBS.c.state.in_(HELD), lost).limit(most)
            rows = connection.execute(query.with_for_update(skip_locked=True)).all()
            return [self._taken(connection, row.id, holder, now + lease_s) for row in rows]

        return self.database.transact(work)

    def beat(self, held: Iterable[Held], lease_s: float) -> dict[str, Request | None]:
        """Prolong leases; return what is asked of each job. One that is missing is lost."""
        mine = list(held)
        if not mine:
            return {}

        def work(connection: Connection) -> dict[str, Request | None]:
            until = self.lease.now(connection) + lease_s
            which = sa.tuple_(JOBS.c.id, JOBS.c.attempt).in_(mine)
            query = sa.update(JOBS).where(which, JOBS.c.state.in_(HELD)).values(until=until)
            rows = connection.execute(query.returning(JOBS.c.id, JOBS.c.request))
            return {row.id: row.request for row in rows}

        return self.database.transact(work)

    def requests(self, held: Iterable[Held]) -> dict[str, Request | None]:
        """Return what is asked of each job, without prolonging; one that is missing is lost."""
        which = sa.tuple_(JOBS.c.id, JOBS.c.attempt).in_(list(held))
        query = sa.select(JOBS.c.id, JOBS.c.request).where(which, JOBS.c.state.in_(HELD))
        with self.database.read() as connection:
            return {row.id: row.request for row in connection.execute(query)}

    def unfinished(self) -> int:
        """Return how many jobs wait or are held."""
        query = sa.select(sa.func.count()).where(JOBS.c.state.in_(("queued", *HELD)))
        with self.database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def release(self, held: Iterable[Held]) -> None:
        """Let leases run out now, so that the next holder need not wait."""
        mine = list(held)
        if not mine:
            return

        def work(connection: Connection) -> None:
            which = sa.tuple_(JOBS.c.id, JOBS.c.attempt).in_(mine)
            now = self.lease.now(connection)
            connection.execute(sa.update(JOBS).where(which, JOBS.c.state.in_(HELD)).values(until=now - 1))  # fmt: skip

        self.database.transact(work)

    def write(self, job: Job, also: Also | None = None, **values: Any) -> Job:
        """Set columns of a job that is held, with `also` in the same transaction.

        Raises: ProcessError("lease-lost") when another holder has it, or its `tail` has moved; then
        nothing is written.
        """

        def work(connection: Connection) -> Job:
            where = (*_fence(job), JOBS.c.tail == job.tail)
            query = sa.update(JOBS).where(*where).values(**values).returning(JOBS)
            row = connection.execute(query).first()
            if row is None:
                raise lost(job)
            if also is not None:
                also(connection)
            if "pid" in values:
                self._attempt(connection, job, pid=values["pid"])
            return self.make(row)

        return self.database.transact(work)

    def end(
        self, job: Job, ending: Ending, also: Also | None = None, *, tail: int | None = None
    ) -> Job:
        """End an attempt: the job's new state, its effects (`also`), its run's state and `tail` at once.

        Raises: ProcessError("lease-lost"), then nothing is written.
        """

        def work(connection: Connection) -> Job:
            now, over = self.database.now(connection, self._clock), ending.state in TERMINAL
            values = _HOLDS_NOTHING | {
                "state": ending.state, "result": ending.result, "error": ending.error,
                "failures": ending.failures, "dead": ending.dead, "request": None,
                "finished_at": now if over else None,
            }  # fmt: skip
            if ending.state == "queued" and ending.delay_s > 0:
                until = self.lease.now(connection) + ending.delay_s
                values |= {"realm": self.lease.realm, "until": until}
            if ending.state == "succeeded":
                values["progress"] = 1.0
            if tail is not None:
                values["tail"] = tail
            fence = (*_fence(job), JOBS.c.tail == job.tail)
            moved = self._moved(connection, job, ending.state, values, fence)
            self._attempt(connection, job, ended_at=now, outcome=ending.state, error=ending.error)
            if also is not None:
                also(connection)
            return moved

        return self.database.transact(work)

    # Inside a transaction

    def _locked(self, connection: Connection, job_id: str) -> Job:
        query = sa.select(JOBS).where(JOBS.c.id == job_id).with_for_update()
        row = connection.execute(query).first()
        if row is None:
            raise _missing(job_id[:100])
        return self.make(row)

    def _free(self, connection: Connection, job: Job, state: State) -> Job:
        at = self.database.now(connection, self._clock) if state in TERMINAL else None
        values = _HOLDS_NOTHING | {"state": state, "request": None, "finished_at": at}
        if state == "queued":
            values |= {"error": None, "failures": 0}
        return self._moved(connection, job, state, values)

    def _moved(
        self,
        connection: Connection,
        job: Job,
        state: State,
        values: dict[str, Any],
        where: Sequence[Condition] = (),
    ) -> Job:
        legal = (JOBS.c.id == job.id, JOBS.c.state.in_(before(state)), *where)
        query = sa.update(JOBS).where(*legal).values(**values).returning(JOBS)
        row = connection.execute(query).first()
        if row is None:
            raise lost(job)
        made = self.make(row)
        if made.run is not None:
            told = {name: getattr(made, name) for name in ("state", "started_at", "finished_at", "error")}  # fmt: skip
            if state not in HELD:
                told["seconds_left"] = None
            connection.execute(sa.update(RUNS).where(RUNS.c.id == made.run).values(**told))
        return made

    def _taken(self, connection: Connection, job_id: str, holder: str, until: float) -> Job:
        now = self.database.now(connection, self._clock)
        job = self._locked(connection, job_id)
        state: State = "pausing" if job.state == "pausing" else "running"
        values = {
            "state": state, "attempt": job.attempt + 1, "holder": holder, "realm": self.lease.realm,
            "until": until, "started_at": now if job.started_at is None else job.started_at,
        }  # fmt: skip
        if job.attempt and job.state in HELD:
            self._attempt(connection, job, ended_at=now, outcome="lost")
        moved = self._moved(connection, job, state, values)
        row = {"job": job_id, "attempt": moved.attempt, "holder": holder, "began_at": now, "pid": moved.pid}  # fmt: skip
        connection.execute(sa.insert(ATTEMPTS), [row])
        return moved

    def _fits(self, connection: Connection, limits: Capacity) -> Sequence[Condition] | None:
        """Return the conditions on a job that can be held too; None: nothing can."""
        if not limits.is_limited:
            return ()
        if not self.database.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLAIMING})
        used = sa.select(
            sa.func.count(), sa.func.sum(JOBS.c.memory_bytes), sa.func.sum(JOBS.c.gpus)
        ).where(JOBS.c.state.in_(HELD))
        count, memory, gpus = connection.execute(used).one()
        if not count:
            return ()
        if limits.jobs is not None and count >= limits.jobs:
            return None
        found = []
        if limits.memory_bytes is not None:
            found.append(JOBS.c.memory_bytes <= limits.memory_bytes - int(memory))
        if limits.gpus is not None:
            found.append(JOBS.c.gpus <= max(0, limits.gpus - int(gpus)))
        return found

    @staticmethod
    def _attempt(connection: Connection, job: Job, **values: Any) -> None:
        which = (ATTEMPTS.c.job == job.id, ATTEMPTS.c.attempt == job.attempt)
        connection.execute(sa.update(ATTEMPTS).where(*which).values(**values))


_ALREADY: dict[Request, tuple[State, ...]] = {
    "cancel": ("cancelled",), "pause": ("paused", "pausing"), "resume": ("queued", "running"),
}  # fmt: skip
_ASKED: dict[Request, tuple[dict[State, State], dict[State, State]]] = {
    "cancel": (
        {"queued": "cancelled", "paused": "cancelled"},
        {"running": "running", "pausing": "pausing"},
    ),
    "pause": ({"queued": "paused"}, {"running": "pausing", "pausing": "pausing"}),
    "resume": ({"paused": "queued"}, {"pausing": "pausing"}),
}
"""Per request: what it makes of a job that nobody holds, and of one that is held."""
_PARTICIPLE: dict[Request, str] = {"cancel": "cancelled", "pause": "paused", "resume": "resumed"}


def _fence(job: Job) -> tuple[Condition, ...]:
    return JOBS.c.id == job.id, JOBS.c.attempt == job.attempt, JOBS.c.state.in_(HELD)


def lost(job: Job) -> ProcessError:
    """Return the error for a holder whose attempt is over."""
    return ProcessError("lease-lost", f"attempt {job.attempt} of the job {job.id!r} is over")


def _missing(job: str) -> NotFound:
    return NotFound("no-job", f"there is no job {job!r}", hint="stead jobs list")
