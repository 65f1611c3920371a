"""The numbered events of runs and jobs: what came together is one row of JSON lines.

Knows nothing about what events mean. The numbers are the worker's own (`seq` of its event log), so an
event that is stored again is the same event.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stead.store.db import Database
from stead.store.rows import Json
from stead.store.tables import EVENTS


@dataclass(frozen=True, slots=True)
class Stored:
    """One event. `body` is the line as the worker wrote it: "event", "stage", "time" and more."""

    number: int
    body: Json


def append(connection: Connection, subject: str, events: Sequence[Stored]) -> None:
    """Add events in order, those that are there already left out; part of the caller's transaction."""
    known = last(connection, subject)
    fresh = [event for event in events if event.number > known]
    if not fresh:
        return
    lines = b"\n".join(msgspec.json.encode(event.body) for event in fresh)
    row = {
        "subject": subject, "first": fresh[0].number, "last": fresh[-1].number, "body": lines.decode(),
    }  # fmt: skip
    connection.execute(sa.insert(EVENTS), [row])


def last(connection: Connection, subject: str) -> int:
    """Return the number of the newest event; -1 without any."""
    query = sa.select(sa.func.max(EVENTS.c.last)).where(EVENTS.c.subject == subject)
    found = connection.execute(query).scalar()
    return -1 if found is None else int(found)


def read(database: Database, subject: str, after: int = -1, limit: int = 1000) -> list[Stored]:
    """Return the events whose number is above `after`, in order."""
    query = (
        sa.select(EVENTS.c.body)
        .where(EVENTS.c.subject == subject, EVENTS.c.last > after)
        .order_by(EVENTS.c.first)
        .limit(limit)  # each row has at least one
    )
    found: list[Stored] = []
    with database.read() as connection:
        for body in connection.execute(query).scalars():
            found += [event for event in map(_event, body.splitlines()) if event.number > after]
            if len(found) >= limit:
                break
    return found[:limit]


def newest(database: Database, subject: str, before: int, limit: int = 1000) -> list[Stored]:
    """Return the last events whose number is below `before`, the newest first."""
    query = (
        sa.select(EVENTS.c.body)
        .where(EVENTS.c.subject == subject, EVENTS.c.first < before)
        .order_by(EVENTS.c.first.desc())
        .limit(limit)  # each row has at least one
    )
    found: list[Stored] = []
    with database.read() as connection:
        for body in connection.execute(query).scalars():
            events = [event for event in map(_event, body.splitlines()) if event.number < before]
            found += reversed(events)
            if len(found) >= limit:
                break
    return found[:limit]


def _event(line: str) -> Stored:
    body: Json = msgspec.json.decode(line)
    return Stored(int(body["seq"]), body)


def drop(connection: Connection, subject: str) -> None:
    """Forget the events of a run or job; part of the caller's transaction."""
    connection.execute(sa.delete(EVENTS).where(EVENTS.c.subject == subject))
