"""What a run will process: steps, tokens, labels, the largest micro-batch, how evenly lanes are busy.

Knows nothing about bytes or seconds. Batches are dealt here as `data/pack` and `training/batches`
deal them, on lengths instead of rows, so the counts are those of the run but for the order of rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.core.hardware import Hardware, threads_asked
from stead.planning.facts import DataFacts, ModelFacts

FILL = 64  # tokens of a part are filled up to this on a CPU; models/learner
_WINDOW = 64  # micro-batches whose rows are sorted by length together; data/pack
_ROUND = 32  # lengths are filled up to this; models/attention
_SAMPLE = 4096  # rows that stand for all in a simulation
_LANES = 2  # training/build

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """Counts of one whole run, but for `largest`, `labels_at_once`, `longest`.

    `largest`: the most tokens that the lanes hold at once, filled. `lane_tokens` and `lane_squares`: what the
    busiest lane processes, tokens and squared lengths; between a `lanes`-th and all of the totals.
    `busy`: lanes that have
    a part at the same time. `written`: tokens that the model itself writes; `together`: those in memory at once; `positions`:
    how often the next token of all answers is computed.
    `shapes`: filled sizes of parts that are met, each once; `lengths`: those of rows.
    """

    steps: int
    micro: float
    tokens: float
    labels: float
    squares: float
    lane_tokens: float
    lane_squares: float
    parts: float
    largest: int
    labels_at_once: int
    longest: int
    shapes: tuple[int, ...]
    lengths: tuple[int, ...]
    lanes: int
    busy: int
    eval_tokens: float
    written: float = 0.0
    together: int = 0
    positions: float = 0.0

    @property
    def lane_share(self) -> float:
        """The busiest lane's share of the tokens."""
        return self.lane_tokens / max(1.0, self.tokens)


@dataclass(frozen=True, slots=True)
class _Part:
    tokens: int  # filled
    squares: int


def lanes(config: RunConfig, model: ModelFacts, hardware: Hardware) -> int:
    """Return how many parts of a step run side by side: as `training/build` decides it."""
    facts = getattr(model, "config", {})
    draws = any("drop" in key and isinstance(v, float) and v > 0 for key, v in facts.items())
    if config.model.device != "cpu" or draws:
        return 1
    return min(_LANES, threads_asked() or hardware.cores)


def work(config: RunConfig, data: DataFacts, lane_count: int) -> Work:
    """Count what the run processes."""
    rows = _rows(config, data)
    rolled = rollout(config)
    step = FILL if config.model.device == "cpu" else 1
    dealt = [_deal(batch, lane_count, step) for batch in _micro_batches(config, rows.sizes)]
    group = config.trainer.accumulation
    groups = [
        [p for parts in dealt[i : i + group] for p in parts] for i in range(0, len(dealt), group)
    ]
    each = max(1, math.ceil(len(dealt) * rows.scale / group))
    planned = max(1, math.ceil(each * config.trainer.epochs * rolled.repeat))
    limit = config.trainer.max_steps
    steps = planned if limit is None else min(planned, limit)
    times = rows.scale * steps / each
    prompts = len(rows.sizes) * rows.scale * steps / each / rolled.repeat
    busiest = [_busiest(g, lane_count) for g in groups]
    tokens, parts = sum(rows.sizes), sum(map(len, dealt))
    largest = _nth(sorted(_at_once(g, lane_count) for g in groups), steps)
    together = largest if rolled.answers else 0
    if rolled.answers:
        largest = min(largest, rolled.micro_tokens * lane_count)
    count = len(rows.pieces) / max(1, tokens) * tokens * times * (tokens / max(1, sum(rows.pieces)))
    spread = sum(n * n for n in rows.pieces) / max(1, sum(rows.pieces))  # mean length a token is in
    lane_tokens = sum(p.tokens for p in busiest) * times
    return Work(
        steps=steps, micro=len(dealt) * times, tokens=tokens * times,
        labels=prompts * rolled.tokens if rolled.answers else data.label_tokens * steps / each,
        written=prompts * rolled.tokens, together=together,
        positions=steps / rolled.repeat * rolled.length, squares=tokens * times * spread,
        lane_tokens=lane_tokens, lane_squares=lane_tokens * spread, parts=parts * times,
        largest=largest,
        labels_at_once=math.ceil(largest * _labelled(data, rolled)),
        longest=max(rows.pieces, default=0),
        shapes=_seen({p.tokens for parts in dealt for p in parts}, parts * times),
        lengths=_seen({-(-n // _ROUND) * _ROUND for n in rows.pieces}, count),
        lanes=lane_count,
        busy=min(lane_count, max(map(len, groups), default=1)), eval_tokens=tokens * rows.scale * data.eval_rows / max(1, data.rows),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rollout:
    """What a method writes for each row: answers of so many tokens, learnt from `repeat` times."""

    answers: int = 0
    length: int = 0
    repeat: int = 1
    micro_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens written for one row, at most."""
        return self.answers * self.length


def rollout(config: RunConfig) -> Rollout:
    """Read the settings of a method that generates; other methods write nothing."""
    if not getattr(registry("method").get(config.method.type), "rollout", False):
        return Rollout()
    c: Any = config.method  # Any: the method's own config class, training/rollout
    repeat = getattr(c, "num_iterations", 1) * getattr(c, "steps_per_generation", 1)
    return Rollout(c.num_generations, c.max_completion_length, repeat, c.micro_batch_tokens)


def _labelled(data: DataFacts, rolled: Rollout) -> float:
    """Return the share of tokens with a loss; of a prompt with answers, those of the answers."""
    if rolled.answers:
        return rolled.tokens / (data.tokens / max(1, data.rows) + rolled.tokens)
    return min(1.0, data.label_tokens / max(1, data.tokens))


def _nth(ordered: Sequence[int], draws: int) -> int:
    """Return what the largest of `draws` values is expected to be; all values: the largest."""
    if not ordered:
        return FILL
    return ordered[min(len(ordered) - 1, len(ordered) * draws // (draws + 1))]


def _seen(kinds: set[int], draws: float) -> tuple[int, ...]:
    """Return evenly chosen kinds, as many as so many draws are expected to meet."""
    count = len(kinds)
    met = count * (1 - (1 - 1 / count) ** draws) if count > 1 else count
    ordered = sorted(kinds)
    kept = max(1, min(count, round(met)))
    return tuple(ordered[(2 * i + 1) * count // (2 * kept)] for i in range(kept)) if count else ()


@dataclass(frozen=True, slots=True)
class _Rows:
    """Lengths of what is batched, sorted; of what attends to itself; how many rows each stands for."""

    sizes: list[int]
    pieces: list[int]
    scale: float


def _rows(config: RunConfig, data: DataFacts) -> _Rows:
    """Return the rows: examples, or blocks of documents that do not see one another."""
    rows, length = max(1, data.rows), config.data.max_length
    kept = min(rows, _SAMPLE)
    found = [max(1, n) for n in _at_ranks(data, kept)]
    if data.kind == "text" and config.data.pack and isinstance(length, int):
        blocks = max(1, math.ceil(data.tokens / length))
        count = min(blocks, _SAMPLE)
        tail = [data.tokens - (blocks - 1) * length] if count == blocks else []
        pieces = [
            m
            for n in found
            for m in [length] * (n // length) + ([n % length] if n % length else [])
        ]
        return _Rows([*tail, *[length] * (count - len(tail))], pieces, blocks / count)
    found = [n + rollout(config).tokens for n in _with_sum(found, data.tokens * kept / rows)]
    return _Rows(found, found, rows / kept)


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


def _micro_batches(config: RunConfig, sizes: Sequence[int]) -> list[list[int]]:
    """Cut rows as `data/pack.plan_batches` does: sorted inside windows, filled up to the budget."""
    rows, budget = config.trainer.batch_rows, config.trainer.batch_tokens
    if rows is not None or not isinstance(budget, int):
        mixed, width = _mixed(sizes), 1 if rows is None else rows
        return [mixed[i : i + width] for i in range(0, len(mixed), width)]
    windows = max(1, round(sum(sizes) / (budget * _WINDOW)))
    found: list[list[int]] = []
    for first in range(windows):
        batch: list[int] = []
        for size in sizes[first::windows]:
            if batch and sum(batch) + size > budget:
                found.append(batch)
                batch = []
            batch.append(size)
        found += [batch] if batch else []
    return _mixed(found)


def _mixed(items: Sequence[T]) -> list[T]:
    """Return the items in an order that has nothing to do with their size: steps of a golden cut."""
    stride = max(1, round(len(items) * 0.618))
    while math.gcd(stride, len(items)) > 1:
        stride += 1
    return [items[i * stride % len(items)] for i in range(len(items))]


def _deal(rows: Sequence[int], count: int, step: int) -> list[_Part]:
    """Share rows among lanes, longest first, as `training/batches.Columns.deal`."""
    sums = [0] * min(count, len(rows))
    squares = [0] * len(sums)
    for size in sorted(rows, reverse=True):
        least = sums.index(min(sums))
        sums[least] += size
        squares[least] += size * size
    return [_Part(-(-t // step) * step, s) for t, s in zip(sums, squares, strict=True)]


def _busiest(parts: Sequence[_Part], count: int) -> _Part:
    """Return what the busiest lane does in one step: parts go, in order, to who is free first."""
    tokens, squares = [0] * count, [0] * count
    for part in parts:
        free = tokens.index(min(tokens))
        tokens[free] += part.tokens
        squares[free] += part.squares
    return _Part(max(tokens), max(squares))


def _at_once(parts: Sequence[_Part], count: int) -> int:
    """Return the most tokens of parts that run side by side in one step."""
    last = max(1, len(parts) - count + 1)
    return max(sum(p.tokens for p in parts[i : i + count]) for i in range(last))
