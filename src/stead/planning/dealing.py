"""Which rows each optimizer step of a run will see, from the rows' costs alone.

Knows nothing about models, bytes or seconds. Rows are dealt as `data/pack.plan_batches` and
`training/rows/steps` deal them, so that the first steps of a run are those it will make; a test compares.
Plain Python: a plan must not need numpy for a few thousand rows.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from stead.config.run import RunConfig, TrainerSection
from stead.core import seeds

WINDOW = 64  # micro-batches whose rows are sorted by length together; data/pack
_MOST = 16_384  # rows that are dealt one by one; what comes after them is like them

Rows = list[int]


@dataclass(frozen=True, slots=True)
class Dealt:
    """The rows of steps: `groups` holds, for each step with rows of its own, its micro-batches.

    `steps`: optimizer steps of the run. `times`: how many such steps of the run each one stands for;
    1 where all were dealt.
    """

    groups: list[list[Rows]]
    steps: int
    times: float


def deal(config: RunConfig, costs: Sequence[int], repeat: int = 1, scale: float = 1.0) -> Dealt:
    """Deal all rows of a run, or its first ones.

    `repeat`: steps on the same rows before the next ones. `scale`: rows that each one stands for.
    """
    limit = config.trainer.max_steps
    groups: list[list[Rows]] = []
    ends: list[int] = []  # distinct steps when each epoch ends
    seen = 0
    for epoch in range(math.ceil(config.trainer.epochs)):
        whole = config.trainer.epochs >= epoch + 1  # where a part of an epoch ends, its length says
        for group in _groups(config.trainer, costs, epoch):
            groups.append(group)
            seen += sum(map(len, group))
            if whole and limit is not None and len(groups) * repeat >= limit:
                return Dealt(groups, limit, 1.0)
            if seen >= _MOST:
                return _partly(config, groups, costs, repeat, scale)
        if scale > 1:
            return _partly(config, groups, costs, repeat, scale)
        ends.append(len(groups))
    planned = _last(config.trainer.epochs, [end * repeat for end in ends])
    steps = planned if limit is None else min(limit, planned)
    return Dealt(groups[: math.ceil(steps / repeat)], steps, 1.0)


def _partly(
    config: RunConfig, groups: list[list[Rows]], costs: Sequence[int], repeat: int, scale: float
) -> Dealt:
    """Scale what was dealt to the whole run, by tokens."""
    dealt = sum(costs[row] for group in groups for rows in group for row in rows)
    each = max(1, round(len(groups) * sum(costs) * scale / max(1, dealt)))
    planned = max(1, math.ceil(each * config.trainer.epochs * repeat))
    limit = config.trainer.max_steps
    steps = planned if limit is None else min(planned, limit)
    return Dealt(groups, steps, steps / repeat / len(groups))


def _last(epochs: float, ends: Sequence[int]) -> int:
    """Return the last step, as `training/rows/steps` counts it: a part of an epoch has one step at least."""
    whole, last = len(ends), ends[-1] if ends else 1
    if epochs < whole:
        before = ends[-2] if whole > 1 else 0
        last = before + max(1, round((last - before) * (epochs - (whole - 1))))
    return max(1, last)


def _groups(trainer: TrainerSection, costs: Sequence[int], epoch: int) -> Iterator[list[Rows]]:
    micro = _micro_batches(trainer, costs, epoch)
    while group := list(islice(micro, trainer.accumulation)):
        yield group


def _micro_batches(trainer: TrainerSection, costs: Sequence[int], epoch: int) -> Iterator[Rows]:
    """Yield an epoch's micro-batches, each as its rows."""
    rows, budget = trainer.batch_rows, trainer.batch_tokens
    order = _order(trainer, len(costs), epoch)
    if rows is not None or not isinstance(budget, int):
        while found := list(islice(order, 1 if rows is None else rows)):
            yield found
        return
    order = (row for row in order if costs[row] > 0)
    if not trainer.shuffle:
        yield from _fill(order, costs, budget)
        return
    for number, window in enumerate(_windows(order, costs, budget)):
        filled = list(_fill(iter(sorted(window, key=costs.__getitem__)), costs, budget))
        key = seeds.stream(trainer.seed, epoch, f"window-{number}")
        yield from (filled[i] for i in seeds.mixed(key, len(filled)))


def _order(trainer: TrainerSection, rows: int, epoch: int) -> Iterator[int]:
    if not trainer.shuffle:
        return iter(range(rows))
    return (_place(trainer.seed, epoch, i, rows) for i in range(rows))


@lru_cache(maxsize=4 * _MOST)
def _place(seed: int, epoch: int, i: int, rows: int) -> int:
    return seeds.permute(seed, epoch, i, rows)


def _windows(order: Iterator[int], costs: Sequence[int], budget: int) -> Iterator[Rows]:
    """Cut the order into windows of about `WINDOW` micro-batches."""
    size, end = budget * WINDOW, 0
    window: Rows = []
    number = 0
    for row in order:
        end += costs[row]
        if window and end // size != number:
            yield window
            window = []
        number = end // size
        window.append(row)
    if window:
        yield window


def _fill(order: Iterator[int], costs: Sequence[int], budget: int) -> Iterator[Rows]:
    """Take rows in order until the next one would pass the budget."""
    batch: Rows = []
    held = 0
    for row in order:
        if batch and held + costs[row] > budget:
            yield batch
            batch, held = [], 0
        batch.append(row)
        held += costs[row]
    if batch:
        yield batch
