"""The statements of the queue, built once: what is built anew at each call costs more than the database takes for it.

Knows nothing about transactions. Parameters begin with `the_`. States stand in them as literals: an index over
some states only is not used for a state that comes as a parameter.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from stead.store.job_states import HELD, Capacity, State
from stead.store.rows import Condition
from stead.store.tables import ATTEMPTS, JOBS, RUNS

Number = sa.ColumnElement[float]


def _is(*states: State) -> Condition:
    return JOBS.c.state.in_([sa.literal_column(f"'{state}'") for state in states])


IS_QUEUED = JOBS.c.state == sa.literal_column("'queued'")
IS_HELD = _is(*HELD)
IS_OPEN = _is("queued", *HELD)


def the(name: str, kind: Any = None) -> sa.BindParameter[Any]:  # Any: of whichever type
    """Return the parameter `the_<name>`, of the type of that column of jobs or of `kind`."""
    return sa.bindparam(f"the_{name}", type_=JOBS.c[name].type if kind is None else kind)


_MINE = (JOBS.c.id == the("id"), JOBS.c.attempt == the("attempt"), IS_HELD)
_THIS_RUN = RUNS.c.id == the("run")
_THIS_ATTEMPT = (ATTEMPTS.c.job == the("id"), ATTEMPTS.c.attempt == the("attempt"))

ONE = sa.select(JOBS).where(JOBS.c.id == the("id")).with_for_update()
KEYED = sa.select(JOBS).where(JOBS.c.idempotency_key == the("idempotency_key"))
UNFINISHED = sa.select(sa.func.count()).where(IS_OPEN)
WRITE = sa.update(JOBS).where(*_MINE, JOBS.c.tail == the("tail")).returning(JOBS)
WRITE_PID = sa.update(ATTEMPTS).where(*_THIS_ATTEMPT).values(pid=the("pid"))
CLAIMS_ALONE = sa.text("SELECT pg_advisory_xact_lock(:key)").bindparams(key=0x57EAE)
"""PostgreSQL's lock of whoever counts what is free."""
_TOLD = {name: the(name) for name in ("state", "started_at", "finished_at", "error")}
RUN_HELD = sa.update(RUNS).where(_THIS_RUN).values(**_TOLD)
RUN_LEFT = sa.update(RUNS).where(_THIS_RUN).values(**_TOLD, seconds_left=None)


class Statements:
    """Those that read a clock or differ between databases. `now` is Unix time, `lease_now` the leases' own."""

    def __init__(self, now: Number, lease_now: Number, realm: str, *, is_sqlite: bool) -> None:
        self._now, self._lease_now, self._realm = now, lease_now, realm
        self._claims: dict[tuple[bool, ...], sa.Executable] = {}
        insert = sqlite.insert if is_sqlite else postgresql.insert
        self.submit = (
            insert(JOBS)
            .on_conflict_do_nothing(index_elements=["idempotency_key"])
            .returning(JOBS.c.id)
        )
        self.attempt_begins = sa.insert(ATTEMPTS).values(
            job=the("id"),
            attempt=the("attempt"),
            holder=the("holder"),
            began_at=now,
            pid=the("pid"),
        )
        self.attempt_ends = (
            sa.update(ATTEMPTS)
            .where(*_THIS_ATTEMPT)
            .values(ended_at=now, outcome=the("state"), error=the("error"))
        )
        self.end = self._end()
        lost = (JOBS.c.realm != realm) | (JOBS.c.until < lease_now)
        query = sa.select(JOBS.c.id).where(IS_HELD, lost).limit(the("most", sa.Integer))
        first = query.with_for_update(skip_locked=True)
        self.take_over = self._take().where(JOBS.c.id.in_(first)).returning(JOBS)

    def claim(self, kinds: Sequence[str] | None, limits: Capacity) -> sa.Executable:
        """Return what takes the first queued job, of some kinds only, within what is free of the limits."""
        given = (kinds, limits.memory_bytes, limits.gpus, limits.jobs)
        shape = tuple(value is not None for value in given)
        if shape not in self._claims:
            self._claims[shape] = self._claim(*shape)
        return self._claims[shape]

    def _claim(self, kinds: bool, memory: bool, gpus: bool, jobs: bool) -> sa.Executable:
        where = [IS_QUEUED]
        where.append(
            JOBS.c.until.is_(None)
            | (JOBS.c.realm != self._realm)
            | (JOBS.c.until <= self._lease_now)
        )
        if kinds:
            where.append(JOBS.c.kind.in_(sa.bindparam("the_kinds", expanding=True)))
        if memory or gpus or jobs:
            where.append(_fits(memory, gpus, jobs))
        order = (JOBS.c.priority.desc(), JOBS.c.created_at, JOBS.c.id)
        query = sa.select(JOBS.c.id).where(*where).order_by(*order).limit(1)
        first = query.with_for_update(skip_locked=True).scalar_subquery()
        return (
            self._take()
            .where(JOBS.c.id == first)
            .values(state="running", error=sa.null())
            .returning(JOBS)
        )

    def _take(self) -> sa.Update:
        return sa.update(JOBS).values(
            attempt=JOBS.c.attempt + 1,
            holder=the("holder"),
            realm=self._realm,
            until=self._lease_now + the("lease_s", sa.Double()),
            started_at=sa.func.coalesce(JOBS.c.started_at, self._now),
        )

    def _end(self) -> Any:  # Any: an UPDATE that returns rows
        given = ("state", "result", "error", "failures", "dead")
        is_over = the("over", sa.Boolean()) == sa.true()
        return (
            sa.update(JOBS)
            .where(*_MINE, JOBS.c.tail == the("tail"))
            .values(
                {name: the(name) for name in given}
                | dict.fromkeys(("holder", "asked", "pid", "pid_started", "request"), sa.null())
                | {
                    "realm": the("realm"),
                    "until": self._lease_now + the("delay_s", sa.Double()),
                    "finished_at": sa.case((is_over, self._now), else_=None),
                    "progress": sa.func.coalesce(the("progress"), JOBS.c.progress),
                    "tail": the("new_tail", sa.BigInteger()),
                }
            )
            .returning(JOBS)
        )


def _fits(memory: bool, gpus: bool, jobs: bool) -> Condition:
    """Return whether a job can be held beside those that are: any can when none is."""
    held = JOBS.alias("held")
    is_held = held.c.state.in_([sa.literal_column(f"'{state}'") for state in HELD])

    def used(what: Any) -> Any:  # Any: a number
        return sa.select(sa.func.coalesce(what, 0)).where(is_held).scalar_subquery()

    count = sa.select(sa.func.count(held.c.id)).where(is_held).scalar_subquery()
    free = []
    if jobs:
        free.append(count < the("jobs", sa.BigInteger()))
    if memory:
        left = the("memory_bytes") - used(sa.func.sum(held.c.memory_bytes))
        free.append(JOBS.c.memory_bytes <= left)
    if gpus:
        left = the("gpus") - used(sa.func.sum(held.c.gpus))
        free.append((JOBS.c.gpus == 0) | (JOBS.c.gpus <= left))
    return (count == 0) | sa.and_(*free)
