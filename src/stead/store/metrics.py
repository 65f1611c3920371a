"""Measurements of runs: packed blocks of points per run and key, and series thinned to what can be seen.

Knows nothing about what is measured. A point is (step, value); the steps of a key only rise: points that
come again, because a run went back to a checkpoint, replace those from their first step on. A full block
carries the least and greatest point of each 64, so that long series are read without their points.
"""

import math
import struct
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stead.store import events
from stead.store.db import Database
from stead.store.tables import METRICS

BLOCK = 512  # points: 4 KiB
_GROUP = 64
_LARGEST = 3.4e38  # float32's, nearly
_THIN = 8  # with more points than so many for each that is wanted, summaries are read
Point = tuple[int, float]
Points = tuple[list[int], list[float]]


@dataclass(frozen=True, slots=True)
class Series:
    """Some series over the same steps; None where a series has no point.

    Thinned, each stretch of steps has two places: the least and the greatest value in it, in the order they came,
    at the stretch's first and last step. Each value is a real one (as float32).
    """

    steps: list[int]
    series: dict[str, list[float | None]]
    last_event: int = -1  # the run's newest event when they were read; follow from there on


def append(connection: Connection, run: str, points: Mapping[str, Sequence[Point]]) -> None:
    """Add points, which must rise within each key; part of the caller's transaction."""
    fresh = {key: _finite(found) for key, found in points.items()}
    fresh = {key: found for key, found in fresh.items() if found[0]}
    if not fresh:
        return
    mine = (METRICS.c.run == run) & METRICS.c.key.in_(list(fresh))
    first = min(steps[0] for steps, _ in fresh.values())
    again = mine & (METRICS.c.summary.is_(None) | (METRICS.c.last_step >= first))
    newest = sa.select(METRICS.c.key, sa.func.max(METRICS.c.block)).where(mine).group_by(METRICS.c.key)  # fmt: skip
    ends = {str(key): int(block) + 1 for key, block in connection.execute(newest)}
    query = sa.select(METRICS.c.key, METRICS.c.block, METRICS.c.points).where(again)
    former: dict[str, list[tuple[int, bytes]]] = {}
    for key, block, data in connection.execute(query.order_by(METRICS.c.block)):
        former.setdefault(str(key), []).append((int(block), data))
    if former:
        connection.execute(sa.delete(METRICS).where(again))
    rows = []
    for key, found in fresh.items():
        begin = former[key][0][0] if key in former else ends.get(key, 0)
        kept = _until([_unpack(data) for _, data in former.get(key, [])], found[0][0])
        rows += _blocks(run, key, begin, (kept[0] + found[0], kept[1] + found[1]))
    connection.execute(sa.insert(METRICS), rows)


def _finite(points: Sequence[Point]) -> Points:
    """Leave out what is no number, and all but the last of points that came again."""
    steps: list[int] = []
    values: list[float] = []
    for step, value in points:
        if not math.isfinite(value) or step < 0:
            continue
        if steps and step <= steps[-1]:
            cut = bisect_left(steps, step)
            del steps[cut:], values[cut:]
        steps.append(step)
        values.append(max(-_LARGEST, min(_LARGEST, value)))
    return steps, values


def _until(found: Sequence[Points], step: int) -> Points:
    steps = [one for part in found for one in part[0]]
    values = [one for part in found for one in part[1]]
    cut = bisect_left(steps, step)
    return steps[:cut], values[:cut]


def _blocks(run: str, key: str, begin: int, points: Points) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for number, start in enumerate(range(0, len(points[0]), BLOCK), begin):
        steps, values = points[0][start : start + BLOCK], points[1][start : start + BLOCK]
        full = len(steps) == BLOCK
        rows.append({
            "run": run, "key": key, "block": number, "count": len(steps),
            "first_step": steps[0], "last_step": steps[-1],
            "summary": _pack(*_summary(steps, values)) if full else None,
            "points": _pack(steps, values),
        })  # fmt: skip
    return rows


def _summary(steps: Sequence[int], values: Sequence[float]) -> Points:
    places: list[int] = []
    for start in range(0, len(values), _GROUP):
        places += _extremes(values, start, start + _GROUP)
    return [steps[i] for i in places], [values[i] for i in places]


def _extremes(values: Sequence[float], start: int, end: int) -> tuple[int, int]:
    """Return the places of the least and the greatest value of a part, in order."""
    part = values[start:end]
    low, high = part.index(min(part)), part.index(max(part))
    return start + min(low, high), start + max(low, high)


def _pack(steps: Sequence[int], values: Sequence[float]) -> bytes:
    count = len(steps)
    return struct.pack(f"<{count}I{count}f", *steps, *values)


def _unpack(data: bytes) -> Points:
    count = len(data) // 8
    found = struct.unpack(f"<{count}I{count}f", data)
    return list(found[:count]), list(found[count:])


def keys(database: Database, run: str) -> list[str]:
    """Return what is measured in a run, by name."""
    query = sa.select(METRICS.c.key).where(METRICS.c.run == run, METRICS.c.block == 0)
    with database.read() as connection:
        return sorted(connection.execute(query).scalars())


def read(
    database: Database,
    run: str,
    wanted: Sequence[str] | None = None,
    *,
    from_step: int = 0,
    to_step: int | None = None,
    points: int = 1000,
) -> Series:
    """Return the series of a run from `from_step` to `to_step`, in at most about `points` places.

    Series and `last_event` are of one moment: whoever follows from there misses nothing and hears nothing twice.
    """
    where = (METRICS.c.run == run) & (METRICS.c.last_step >= from_step)
    if to_step is not None:
        where &= METRICS.c.first_step <= to_step
    if wanted is not None:
        where &= METRICS.c.key.in_(list(wanted))
    sizes = sa.select(sa.func.sum(METRICS.c.count)).where(where).group_by(METRICS.c.key)
    data: sa.ColumnElement[Any] = METRICS.c.points  # Any: bytes
    with database.read() as connection:
        last_event = events.last(connection, run)
        longest = max((int(n) for n in connection.execute(sizes).scalars()), default=0)
        if longest > _THIN * points:
            data = sa.func.coalesce(METRICS.c.summary, METRICS.c.points)
        query = sa.select(METRICS.c.key, data).where(where).order_by(METRICS.c.key, METRICS.c.block)
        rows = connection.execute(query).all()
    found: dict[str, Points] = {}
    for key, packed in rows:
        steps, values = found.setdefault(key, ([], []))
        more = _unpack(packed)
        steps += more[0]
        values += more[1]
    inside = {key: _within(part, from_step, to_step) for key, part in found.items()}
    return replace(thin(inside, points), last_event=last_event)


def _within(points: Points, first: int, last: int | None) -> Points:
    begin = bisect_left(points[0], first)
    end = len(points[0]) if last is None else bisect_left(points[0], last + 1)
    return points[0][begin:end], points[1][begin:end]


def thin(found: Mapping[str, Points], points: int) -> Series:
    """Lay series over common steps; at most about `points` of them, extremes kept."""
    steps = sorted({step for part, _ in found.values() for step in part})
    if len(steps) <= points:
        series: dict[str, list[float | None]] = {}
        for key, (mine, values) in found.items():
            by_step = dict(zip(mine, values, strict=True))
            series[key] = [by_step.get(step) for step in steps]
        return Series(steps, series)
    buckets = max(1, points // 2)
    cuts = [len(steps) * i // buckets for i in range(buckets + 1)]
    firsts = [steps[i] for i in cuts[:-1]]
    lasts = [steps[i - 1] for i in cuts[1:]]
    places = [step for pair in zip(firsts, lasts, strict=True) for step in pair]
    return Series(places, {key: _thinned(part, firsts) for key, part in found.items()})


def _thinned(part: Points, firsts: Sequence[int]) -> list[float | None]:
    steps, values = part
    bounds = [bisect_left(steps, first) for first in firsts] + [len(steps)]
    found: list[float | None] = []
    for start, end in pairwise(bounds):
        if start == end:
            found += (None, None)
        else:
            one, other = _extremes(values, start, end)
            found += (values[one], values[other])
    return found
