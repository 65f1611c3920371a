"""The queue of jobs: submit, claim, heartbeat, finish, each one transaction guarded by a fencing token.

Knows nothing about what jobs do. A holder has (job, attempt) until its lease ends; whoever takes the job
over raises the attempt, and what the former holder writes later is refused. Terminal states do not
change. A job's run has the job's state, changed in the same transaction.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stead.core.errors import NotFound, ProcessError, UsageError
from stead.store import queue_sql
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
from stead.store.queue_sql import Statements
from stead.store.rows import Conditions, Json, Page, Rows, columns, contains
from stead.store.tables import JOBS

Also = Callable[[Connection], object]
Held = tuple[str, int]  # job, attempt
Jobs = list[Job]
_HOLDS_NOTHING: Json = {
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
        self.lease = LeaseClock(database, monotonic)
        self._now = database.clock(clock)
        self._sql = Statements(
            self._now, self.lease.now, self.lease.realm, is_sqlite=database.is_sqlite
        )

    # What people ask for

    def submit(self, job: Job, also: Also | None = None) -> Job:
        """Add a job; return it, or the one that was added before with the same key and content.

        `also` is done in the same transaction when the job is new.
        Raises: UsageError("idempotency-conflict", status 409): the key came with another content.
        """

        def work(connection: Connection) -> Job:
            row = connection.execute(self._sql.submit, columns(job)).first()
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
        row = connection.execute(queue_sql.KEYED, {"the_idempotency_key": key}).first()
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
        query = self._sql.claim(kinds, limits)
        given = {
            "the_holder": holder, "the_lease_s": lease_s, "the_kinds": None if kinds is None else list(kinds),
            "the_memory_bytes": limits.memory_bytes, "the_gpus": limits.gpus, "the_jobs": limits.jobs,
        }  # fmt: skip
        must_count = limits.is_limited and not self.database.is_sqlite

        def work(connection: Connection) -> Job | None:
            if must_count:
                connection.execute(queue_sql.CLAIMS_ALONE)
            row = connection.execute(query, given).first()
            return None if row is None else self._begun(connection, self.make(row))

        return self.database.transact(work)

    def take_over(self, holder: str, lease_s: float, most: int = 20) -> Jobs:
        """Take jobs whose holder has let its lease run out; each gets a new attempt."""

        given = {"the_holder": holder, "the_lease_s": lease_s, "the_most": most}

        def work(connection: Connection) -> Jobs:
            rows = connection.execute(self._sql.take_over, given).all()
            found = [self.make(row) for row in rows]
            for job in found:
                before = {"the_id": job.id, "the_attempt": job.attempt - 1}
                lost = before | {"the_state": "lost", "the_error": None}
                connection.execute(self._sql.attempt_ends, lost)
            return [self._begun(connection, job) for job in found]

        return self.database.transact(work)

    def beat(self, held: Iterable[Held], lease_s: float) -> dict[str, Request | None]:
        """Prolong leases; return what is asked of each job. One that is missing is lost."""
        mine = list(held)
        if not mine:
            return {}

        def work(connection: Connection) -> dict[str, Request | None]:
            until = self.lease.now + lease_s
            which = sa.tuple_(JOBS.c.id, JOBS.c.attempt).in_(mine)
            query = sa.update(JOBS).where(which, queue_sql.IS_HELD).values(until=until)
            rows = connection.execute(query.returning(JOBS.c.id, JOBS.c.request))
            return {row.id: row.request for row in rows}

        return self.database.transact(work)

    def requests(self, held: Iterable[Held]) -> dict[str, Request | None]:
        """Return what is asked of each job, without prolonging; one that is missing is lost."""
        which = sa.tuple_(JOBS.c.id, JOBS.c.attempt).in_(list(held))
        query = sa.select(JOBS.c.id, JOBS.c.request).where(which, queue_sql.IS_HELD)
        with self.database.read() as connection:
            return {row.id: row.request for row in connection.execute(query)}

    def unfinished(self) -> int:
        """Return how many jobs wait or are held."""
        with self.database.read() as connection:
            return int(connection.execute(queue_sql.UNFINISHED).scalar_one())

    def release(self, held: Iterable[Held]) -> None:
        """Let leases run out now, so that the next holder need not wait."""
        mine = list(held)
        if not mine:
            return

        def work(connection: Connection) -> None:
            which = sa.tuple_(JOBS.c.id, JOBS.c.attempt).in_(mine)
            query = sa.update(JOBS).where(which, queue_sql.IS_HELD)
            connection.execute(query.values(until=self.lease.now - 1))

        self.database.transact(work)

    def write(self, job: Job, also: Also | None = None, **values: Any) -> Job:
        """Set columns of a job that is held, with `also` in the same transaction.

        Raises: ProcessError("lease-lost") when another holder has it, or its `tail` has moved; then
        nothing is written.
        """

        def work(connection: Connection) -> Job:
            row = connection.execute(queue_sql.WRITE, _fence(job) | values).first()
            if row is None:
                raise lost(job)
            if also is not None:
                also(connection)
            if "pid" in values:
                given = {"the_id": job.id, "the_attempt": job.attempt, "the_pid": values["pid"]}
                connection.execute(queue_sql.WRITE_PID, given)
            return self.make(row)

        return self.database.transact(work)

    def end(
        self, job: Job, ending: Ending, also: Also | None = None, *, tail: int | None = None
    ) -> Job:
        """End an attempt: the job's new state, its effects (`also`), its run's state and `tail` at once.

        Raises: ProcessError("lease-lost"), then nothing is written.
        """

        waits = ending.state == "queued" and ending.delay_s > 0
        given = _fence(job) | {
            "the_state": ending.state, "the_result": ending.result, "the_error": ending.error,
            "the_failures": ending.failures, "the_dead": ending.dead, "the_over": ending.state in TERMINAL,
            "the_realm": self.lease.realm if waits else None,
            "the_delay_s": ending.delay_s if waits else None,
            "the_progress": 1.0 if ending.state == "succeeded" else None,
            "the_new_tail": job.tail if tail is None else tail,
        }  # fmt: skip

        def work(connection: Connection) -> Job:
            row = connection.execute(self._sql.end, given).first()
            if row is None:
                raise lost(job)
            moved = self._told(connection, self.make(row))
            connection.execute(self._sql.attempt_ends, given)
            if also is not None:
                also(connection)
            return moved

        return self.database.transact(work)

    # Inside a transaction

    def _locked(self, connection: Connection, job_id: str) -> Job:
        row = connection.execute(queue_sql.ONE, {"the_id": job_id}).first()
        if row is None:
            raise _missing(job_id[:100])
        return self.make(row)

    def _free(self, connection: Connection, job: Job, state: State) -> Job:
        at = self._now if state in TERMINAL else None
        values = _HOLDS_NOTHING | {"state": state, "request": None, "finished_at": at}
        if state == "queued":
            values |= {"error": None, "failures": 0}
        return self._moved(connection, job, state, values)

    def _moved(self, connection: Connection, job: Job, state: State, values: Json) -> Job:
        legal = (JOBS.c.id == job.id, JOBS.c.state.in_(before(state)))
        query = sa.update(JOBS).where(*legal).values(**values).returning(JOBS)
        row = connection.execute(query).first()
        if row is None:
            raise lost(job)
        return self._told(connection, self.make(row))

    def _begun(self, connection: Connection, job: Job) -> Job:
        given = {
            "the_id": job.id, "the_attempt": job.attempt, "the_holder": job.holder, "the_pid": job.pid,
        }  # fmt: skip
        connection.execute(self._sql.attempt_begins, given)
        return self._told(connection, job)

    @staticmethod
    def _told(connection: Connection, job: Job) -> Job:
        """Give a job's state to its run."""
        if job.run is not None:
            query = queue_sql.RUN_HELD if job.state in HELD else queue_sql.RUN_LEFT
            told = {
                "the_run": job.run, "the_state": job.state, "the_started_at": job.started_at,
                "the_finished_at": job.finished_at, "the_error": job.error,
            }  # fmt: skip
            connection.execute(query, told)
        return job


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


def _fence(job: Job) -> Json:
    return {"the_id": job.id, "the_attempt": job.attempt, "the_tail": job.tail}


def lost(job: Job) -> ProcessError:
    """Return the error for a holder whose attempt is over."""
    return ProcessError("lease-lost", f"attempt {job.attempt} of the job {job.id!r} is over")


def _missing(job: str) -> NotFound:
    return NotFound("no-job", f"there is no job {job!r}", hint="stead jobs list")
