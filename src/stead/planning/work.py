"""What a run will process: steps, tokens, labels, the largest micro-batch, how evenly lanes are busy.

Knows nothing about bytes or seconds. What rows cost is said by `planning/rows`, which step sees them by
`planning/dealing`; here they are shared among lanes as `training/rows/batches` shares them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.core.hardware import Hardware, threads_asked
from stead.planning.dealing import deal
from stead.planning.facts import DataFacts, ModelFacts
from stead.planning.rows import Rollout, Rows, rollout, rows

FILL = 64  # tokens of a part are filled up to this on a CPU; models/learner
_ROUND = 32  # lengths are filled up to this; models/attention
_LANES = 2  # training/build
_TABLE, _HELD_OUT = (
    4096,
    2048,
)  # tokens of a batch without a gradient; training/teaching/reference, training/fit


@dataclass(frozen=True, slots=True)
class Work:
    """Counts of one whole run, but for `largest`, `labels_at_once`, `longest`.

    `largest`: the most tokens that the lanes hold at once, filled. `lane_tokens` and `lane_squares`: what the
    busiest lane processes, tokens and squared lengths; between a `lanes`-th and all of the totals.
    `busy`: lanes that have
    a part at the same time. `written`: tokens that the model itself writes; `together`: those in memory at once; `positions`:
    how often the next token of all answers is computed.
    `shapes`: filled sizes of parts that are met, each once; `lengths`: those of rows. `asked`: the most tokens
    that are computed at once without a gradient, by a reference or for the held-out rows.
    """

    steps: int
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
    asked: int = 0
    asked_labels: int = 0

    @property
    def lane_share(self) -> float:
        """The busiest lane's share of the tokens."""
        return self.lane_tokens / max(1.0, self.tokens)


def lanes(config: RunConfig, model: ModelFacts, hardware: Hardware) -> int:
    """Return how many parts of a step run side by side: as `training/build` decides it."""
    facts = getattr(model, "config", {})
    draws = any("drop" in key and isinstance(v, float) and v > 0 for key, v in facts.items())
    if config.model.device != "cpu" or draws:
        return 1
    return min(_LANES, threads_asked() or hardware.cores)


def work(config: RunConfig, data: DataFacts, lane_count: int) -> Work:
    """Count what the run processes."""
    found, rolled = rows(config, data), rollout(config)
    fill = FILL if config.model.device == "cpu" else 1
    dealt = deal(config, found.costs, rolled.repeat, found.scale)
    groups = [
        [p for micro in group for p in _share([found.costs[r] for r in micro], lane_count, fill)]
        for group in dealt.groups
    ]
    met = [r for group in dealt.groups for micro in group for r in micro]
    pieces = [n for r in met for n in found.pieces[r]]
    rounds = dealt.steps / rolled.repeat / max(1, len(groups))  # of each group that was dealt
    tokens = sum(found.costs[r] for r in met) * rounds * rolled.iterations
    spread = sum(n * n for n in pieces) / max(1, sum(pieces))  # mean length a token is in
    lane_tokens = sum(_busiest(g, lane_count) for g in groups) * rounds * rolled.iterations
    draws = dealt.steps if dealt.times > 1 else None
    parts = sum(map(len, groups)) * rounds * rolled.repeat
    largest, together = _most(groups, rolled, lane_count, draws)
    labels = rolled.tokens * data.rows if rolled.answers else data.label_tokens
    labelled = _labelled(data, found, rolled)
    asked = _asked(config, data, found, lane_count)
    return Work(
        steps=dealt.steps, tokens=tokens, labels=labels * tokens / max(1.0, found.tokens),
        written=len(met) * rounds * rolled.tokens, together=together,
        positions=dealt.steps / rolled.repeat * rolled.length, squares=tokens * spread,
        lane_tokens=lane_tokens, lane_squares=lane_tokens * spread, parts=parts, largest=largest,
        labels_at_once=math.ceil(largest * labelled),
        asked=asked, asked_labels=math.ceil(asked * labelled),
        longest=max(pieces, default=0),
        shapes=_kinds({p for g in groups for p in g}, None if draws is None else parts),
        lengths=_kinds(
            {-(-n // _ROUND) * _ROUND for n in pieces}, None if draws is None else len(pieces) * rounds
        ),
        lanes=lane_count, busy=min(lane_count, max(map(len, groups), default=1)),
        eval_tokens=found.tokens * data.eval_rows / max(1, data.rows),
    )  # fmt: skip


def _most(
    groups: Sequence[Sequence[int]], rolled: Rollout, lane_count: int, draws: int | None
) -> tuple[int, int]:
    """Return the most tokens that lanes learn from at once, and that are written together."""
    if not rolled.answers:
        return _nth(sorted(_at_once(g, lane_count) for g in groups), draws), 0
    together = _nth(sorted(map(sum, groups)), draws)
    return min(-(-together // rolled.shares), rolled.micro_tokens * lane_count), together


def _asked(config: RunConfig, data: DataFacts, found: Rows, lane_count: int) -> int:
    """Return the tokens of batches without a gradient: those of a table of the reference, and held-out rows."""
    table = getattr(registry("method").get(config.method.type), "reference", "none") == "table"
    needed = getattr(config.method, "needs_reference", True)
    held_out = found.tokens * data.eval_rows / max(1, data.rows)
    in_table = min(found.tokens, lane_count * _TABLE) if table and needed else 0.0
    return math.ceil(max(in_table, min(held_out, lane_count * _HELD_OUT)))


def _labelled(data: DataFacts, found: Rows, rolled: Rollout) -> float:
    """Return the share of tokens with a loss; of a prompt with answers, those of the answers."""
    labels = rolled.tokens * data.rows if rolled.answers else data.label_tokens
    return min(1.0, labels / max(1.0, found.tokens))


def _nth(ordered: Sequence[int], draws: int | None) -> int:
    """Return what the largest of `draws` values is expected to be; None: all of them are met."""
    if not ordered:
        return FILL
    if draws is None:
        return ordered[-1]
    return ordered[min(len(ordered) - 1, len(ordered) * draws // (draws + 1))]


def _kinds(kinds: set[int], draws: float | None) -> tuple[int, ...]:
    """Return evenly chosen kinds, as many as so many draws are expected to meet; None: all of them."""
    count, ordered = len(kinds), sorted(kinds)
    if draws is None or count <= 1:
        return tuple(ordered)
    met = count * (1 - (1 - 1 / count) ** draws)
    kept = max(1, min(count, round(met)))
    return tuple(ordered[(2 * i + 1) * count // (2 * kept)] for i in range(kept))


def _share(sizes: Sequence[int], count: int, fill: int) -> list[int]:
    """Share rows among lanes, longest first, as `training/rows/batches.Columns.deal`; return filled sums."""
    sums = [0] * min(count, len(sizes))
    for size in sorted(sizes, reverse=True):
        sums[sums.index(min(sums))] += size
    return [-(-tokens // fill) * fill for tokens in sums]


def _busiest(parts: Sequence[int], count: int) -> int:
    """Return what the busiest lane does in one step: parts go, in order, to who is free first."""
    tokens = [0] * count
    for part in parts:
        tokens[tokens.index(min(tokens))] += part
    return max(tokens)


def _at_once(parts: Sequence[int], count: int) -> int:
    """Return the most tokens of parts that run side by side in one step."""
    last = max(1, len(parts) - count + 1)
    return max(sum(parts[i : i + count]) for i in range(last))
