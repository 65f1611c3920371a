"""What each training row costs in tokens, and which of its parts attend to themselves.

Knows nothing about batches. Rows that the survey has read are taken one by one; where there were too
many, rows that follow the surveyed lengths stand for them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.planning.facts import DataFacts

_SAMPLE = 4096  # rows that stand for all where not every one is known


@dataclass(frozen=True, slots=True)
class Rollout:
    """What a method writes for each row, and how often it learns from that.

    `shares`: steps that split what was written among them; `iterations`: times all of it is learnt from.
    """

    answers: int = 0
    length: int = 0
    iterations: int = 1
    shares: int = 1
    micro_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens written for one row, at most."""
        return self.answers * self.length

    @property
    def repeat(self) -> int:
        """Steps on the same rows."""
        return self.iterations * self.shares


@dataclass(frozen=True, slots=True)
class Rows:
    """Tokens of each row as micro-batches are cut by it, and of its parts that attend to themselves.

    `scale`: how many rows of the data each one stands for.
    """

    costs: list[int]
    pieces: list[tuple[int, ...]]
    scale: float = 1.0

    @property
    def tokens(self) -> float:
        """Tokens of an epoch."""
        return sum(self.costs) * self.scale


def rollout(config: RunConfig) -> Rollout:
    """Read the settings of a method that generates; other methods write nothing."""
    if not getattr(registry("method").get(config.method.type), "rollout", False):
        return Rollout()
    c: Any = config.method  # Any: the method's own config class, training/rl/settings
    shares = getattr(c, "steps_per_generation", 1)
    return Rollout(
        c.num_generations, c.max_completion_length, getattr(c, "num_iterations", 1), shares,
        c.micro_batch_tokens,
    )  # fmt: skip


def rows(config: RunConfig, data: DataFacts) -> Rows:
    """Return the rows of an epoch: examples, or blocks of documents that do not see one another."""
    length, answers = config.data.max_length, rollout(config)
    sizes = list(data.sizes) if data.sizes else _drawn(data)
    scale = 1.0 if data.sizes else max(1, data.rows) / len(sizes)
    if data.kind == "text" and config.data.pack and isinstance(length, int):
        found = _blocks(sizes, length)
        return _viewed(config, data.kind, Rows(list(map(sum, found)), found, scale))
    if answers.answers:
        each = [(n + answers.length, *(answers.length,) * (answers.answers - 1)) for n in sizes]
        return Rows(list(map(sum, each)), each, scale)
    layout = _layout(config)
    if data.kind == "preference" and layout != "rows":
        trees = list(data.trees) if data.trees else _with_sum(sizes, data.tokens / scale)
        pairs = [tuple(m for m in (n, t - n) if m > 0) for n, t in zip(sizes, trees, strict=True)]
        return _viewed(config, data.kind, Rows(trees, pairs, scale))
    if not data.sizes:
        sizes = _with_sum(sizes, data.tokens / scale)
    return _viewed(config, data.kind, Rows(sizes, [(n,) for n in sizes], scale))


def _layout(config: RunConfig) -> str:
    return str(getattr(registry("method").get(config.method.type), "layout", "rows"))


def _viewed(config: RunConfig, kind: str, found: Rows) -> Rows:
    """Return what a method that compares texts looks at: documents twice, else questions and answers, cut."""
    if _layout(config) != "views":
        return found
    c: Any = config.method  # Any: the method's own config class
    longest = int(c.max_length)
    if kind == "text":
        return Rows(
            [2 * n for n in found.costs],
            [tuple(min(n, longest) for n in each) * 2 for each in found.pieces],
            found.scale,
        )
    most = longest * (3 if kind == "preference" else 2)
    costs = [min(n, most) for n in found.costs]
    return Rows(costs, [(min(n, longest), max(0, n - longest)) for n in costs], found.scale)


def _blocks(documents: Sequence[int], length: int) -> list[tuple[int, ...]]:
    """Join documents into rows of `length` tokens, as `data/store.ColumnWriter` does."""
    blocks: list[tuple[int, ...]] = []
    block: list[int] = []
    room = length
    for document in documents:
        left = document
        while left > 0:
            piece = min(left, room)
            block.append(piece)
            left, room = left - piece, room - piece
            if room == 0:
                blocks.append(tuple(block))
                block, room = [], length
    return [*blocks, tuple(block)] if block else blocks


def _drawn(data: DataFacts) -> list[int]:
    """Return rows that stand for all, in an order that has nothing to do with their size."""
    return _mixed([max(1, n) for n in _at_ranks(data, min(max(1, data.rows), _SAMPLE))])


def _at_ranks(data: DataFacts, count: int) -> list[int]:
    """Return `count` lengths that follow the surveyed distribution."""
    points = data.quantiles
    if not points:
        known = [data.lengths[k] for k in ("p50", "p90", "p99", "max") if k in data.lengths]
        mean = data.tokens / max(1, data.rows)
        points = (round(mean * 0.3), *known) if known else (round(mean),)
    last = len(points) - 1
    places = [(i + 0.5) / count * last for i in range(count)]
    return [
        round(points[int(p)] + (p - int(p)) * (points[min(last, int(p) + 1)] - points[int(p)]))
        for p in places
    ]


def _with_sum(sizes: list[int], total: float) -> list[int]:
    """Scale lengths so that their sum is the known one: a pair's row is both columns together."""
    factor = total / max(1, sum(sizes))
    return [max(1, round(n * factor)) for n in sizes] if not 0.98 < factor < 1.02 else sizes


def _mixed(items: list[int]) -> list[int]:
    """Return the items in another order: steps of a golden cut."""
    stride = max(1, round(len(items) * 0.618))
    while math.gcd(stride, len(items)) > 1:
        stride += 1
    return [items[i * stride % len(items)] for i in range(len(items))]
