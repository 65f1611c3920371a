"""Limits in the database: exact among all processes that use it, and kept when all of them end.

Knows nothing about requests. One transaction for whatever has come meanwhile; in it the counters concerned are
read, `core/shared` decides, and what has changed is written. SQLite has one writer anyway; in PostgreSQL
an advisory lock per limit keeps others out until the commit.
"""

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from stead.core.errors import BackendError
from stead.core.shared import Counter, Hold, Limit, Reservation
from stead.store.db import Database
from stead.store.queued import Job, Look, QueuedShared, Reserve, Settle
from stead.store.tables import COUNTERS, RESERVATIONS


@dataclass(slots=True)
class _State:
    """What a transaction has read and will write."""

    now: float
    counters: dict[str, Counter]
    open: dict[str, dict[str, int]]  # reservation -> limit -> amount, of those asked about
    made: list[Reservation] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)


class SharedSQL(QueuedShared):
    """The counters of a database. `clock` is used with SQLite; PostgreSQL has its own."""

    def __init__(
        self, database: Database, *, hold_s: float = 900.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._clock = clock
        super().__init__("stead-limits", hold_s)

    def _do(self, jobs: list[Job]) -> None:
        self._database.transact(lambda connection: self._all(connection, jobs))

    def _all(self, connection: Connection, jobs: list[Job]) -> None:
        limits = {limit.id: limit for job in jobs for limit in _limits(job)}
        if not self._database.is_sqlite:
            _lock(connection, sorted(limits))
        now = self._database.now(connection, self._clock)
        settling = [j.reservation.id for j in jobs if isinstance(j, Settle)]
        state = _read(connection, limits, settling, now)
        for job in jobs:
            if isinstance(job, Reserve):
                self._reserve(state, job)
            elif isinstance(job, Settle):
                _settle(state, job)
            else:
                job.result = state.counters[job.limit.id].at(job.limit, now)
        _write(connection, state, limits, is_sqlite=self._database.is_sqlite)

    def _reserve(self, state: _State, job: Reserve) -> None:
        holds: list[Hold] = []
        try:
            for ask in job.asks:
                slot = state.counters[ask.limit.id].take(ask.limit, ask.amount, state.now)
                holds.append(Hold(ask.limit, slot, ask.amount))
        except BackendError as error:
            for hold in holds:
                state.counters[hold.limit.id].add(hold.slot, -hold.amount)
            job.result = error
            return
        made = Reservation(job.id, tuple(holds), state.now + self._hold_s)
        state.made.append(made)
        job.result = made


def _limits(job: Job) -> Iterable[Limit]:
    if isinstance(job, Reserve):
        return [ask.limit for ask in job.asks]
    return [job.limit] if isinstance(job, Look) else [h.limit for h in job.reservation.holds]


def _lock(connection: Connection, ids: list[str]) -> None:
    """Keep other transactions off these limits; in one order everywhere, so that none wait in a circle."""
    keys = sorted(
        {int.from_bytes(hashlib.sha256(i.encode()).digest()[:8], signed=True) for i in ids}
    )
    for key in keys:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def _read(
    connection: Connection, limits: dict[str, Limit], settling: list[str], now: float
) -> _State:
    """Read the counters, with the reservations that have expired taken out of them."""
    slots: dict[str, dict[int, int]] = {i: {} for i in limits}
    rows = connection.execute(sa.select(COUNTERS).where(COUNTERS.c.limit_id.in_(list(limits))))
    for limit_id, slot, used in rows:
        slots[limit_id][slot] = used
    state = _State(now, {i: Counter(found) for i, found in slots.items()}, {})
    held = RESERVATIONS.c
    is_over = sa.and_(held.limit_id.in_(list(limits)), held.expires_at <= now)
    for row in connection.execute(sa.select(RESERVATIONS).where(is_over)):
        state.counters[row.limit_id].add(row.slot, -row.amount)
    connection.execute(sa.delete(RESERVATIONS).where(is_over))
    if settling:
        for row in connection.execute(sa.select(RESERVATIONS).where(held.id.in_(settling))):
            state.open.setdefault(row.id, {})[row.limit_id] = row.amount
    return state


def _settle(state: _State, job: Settle) -> None:
    if job.reservation.id in state.ended:
        return
    state.ended.add(job.reservation.id)
    held = state.open.get(job.reservation.id, {})
    for hold, stays in zip(job.reservation.holds, job.stays, strict=True):
        change = stays - held.get(hold.limit.id, 0)
        state.counters[hold.limit.id].add(hold.slot, change)


def _write(
    connection: Connection, state: _State, limits: dict[str, Limit], *, is_sqlite: bool
) -> None:
    changed = [
        {"limit_id": i, "slot": slot, "used": counter.slots[slot]}
        for i, counter in state.counters.items()
        for slot in counter.changed & counter.slots.keys()
    ]
    if changed:
        made = sqlite.insert(COUNTERS) if is_sqlite else postgresql.insert(COUNTERS)
        connection.execute(
            made.on_conflict_do_update(
                index_elements=["limit_id", "slot"], set_={"used": made.excluded.used}
            ),
            changed,
        )
    rows = [
        {"id": r.id, "limit_id": h.limit.id, "slot": h.slot, "amount": h.amount,
         "expires_at": r.expires_at}
        for r in state.made
        if r.id not in state.ended
        for h in r.holds
    ]  # fmt: skip
    if rows:
        connection.execute(sa.insert(RESERVATIONS), rows)
    if state.ended:
        connection.execute(
            sa.delete(RESERVATIONS).where(RESERVATIONS.c.id.in_(sorted(state.ended)))
        )
    for limit in limits.values():
        old = (COUNTERS.c.limit_id == limit.id) & (COUNTERS.c.slot < limit.first(state.now))
        if limit.id in {c["limit_id"] for c in changed}:
            connection.execute(sa.delete(COUNTERS).where(old))
