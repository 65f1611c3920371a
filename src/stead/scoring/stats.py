"""Error bars and tests: how far a score could be chance.

Knows nothing about metrics beyond `Scorer.combine`. One number: Wilson for proportions, else the
BCa bootstrap. Two models on the same rows: paired bootstrap for the interval, and a p value by
swapping the two models' rows at random, which is exact under "no difference"; McNemar and an
adjusted interval for proportions. All seeded; all light (numpy loads on first use).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from stead.core.lazy import lazy
from stead.scoring import resample
from stead.scoring.resample import Array
from stead.scoring.scorer import Score, Scorer

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")

DRAWS = 2000  # the 2.5 % tail then holds 50 draws: its quantile is within about 0.3 %
_BLOCK = 1 << 22  # numbers held at once while resampling: 32 MiB


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its confidence interval; `method` says how the interval was made."""

    value: float
    low: float
    high: float
    method: str


@dataclass(frozen=True, slots=True)
class Paired:
    """A difference (second minus first) with interval and two-sided p."""

    delta: float
    low: float
    high: float
    p: float
    method: str


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Return a proportion's interval. Source: Wilson, JASA 22 (1927), p. 209."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else center - half  # exact at the ends, where rounding is not
    high = 1.0 if successes == n else center + half
    return Interval(share, low, high, "wilson")


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of discordant pairs. Source: McNemar 1947, binomial form."""
    n, k = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    terms = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(k + 1)]
    return min(1.0, 2 * math.fsum(math.exp(t - n * math.log(2)) for t in terms))


def paired_proportions(
    first: Sequence[float], second: Sequence[float], level: float = 0.95
) -> Paired:
    """Compare 0/1 values of the same rows: exact McNemar p, Bonett-Price interval.

    The interval adds one to each discordant count, so it stays honest when all rows moved one way.
    Source: Bonett and Price, Statistics in Medicine 31 (2012), eq. 2.
    """
    n = len(first)
    gained = sum(1 for a, b in zip(first, second, strict=True) if b > a)
    lost = sum(1 for a, b in zip(first, second, strict=True) if b < a)
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    half = z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = max(-1.0, up - down - half), min(1.0, up - down + half)
    delta = (gained - lost) / n
    low, high = min(low, delta), max(high, delta)
    return Paired(delta, low, high, mcnemar(lost, gained), "bonett-price, mcnemar")


def interval(
    scorer: Scorer,
    scores: Sequence[Score],
    *,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = 0.95,
) -> Interval:
    """Return the aggregate of `scores` with its interval.

    Proportions: Wilson. Sums: BCa bootstrap (Efron, JASA 82 (1987), sections 2 and 6). A scorer
    with an aggregate of its own: percentile bootstrap. One row gives no spread: the interval is the
    scorer's whole range.
    """
    value = scorer.aggregate(scores)
    if len(scores) == 1 and not scorer.binary:
        return Interval(value, *scorer.range, "range")
    if scorer.binary:
        return wilson(round(sum(s.value for s in scores)), len(scores), level)
    replicas = _replicas(scorer, scores, seed, draws)
    if not np.isfinite(replicas).all():
        return Interval(value, scorer.range[0], scorer.range[1], "none: not finite")
    if value in scorer.range and _is_still(replicas):
        return _at_the_edge(scorer, value, len(scores), level)
    if not _adds_up(scorer):
        return Interval(value, *_percentile(replicas, level), "bootstrap-percentile")
    low, high = _bca(replicas, value, _leave_one_out(scorer, _matrix(scores)), level)
    return Interval(value, low, high, "bootstrap-bca")


def paired(
    scorer: Scorer,
    first: Sequence[Score],
    second: Sequence[Score],
    *,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = 0.95,
) -> Paired:
    """Compare two models on the same rows: aggregate(second) - aggregate(first).

    The same draws resample both, so what the rows have in common cancels. p: share of random swaps
    of the two models' rows with a difference at least as large (Noreen 1989; the +1 keeps it
    exact). Raises: ValueError when the lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"paired scores differ in number: {len(first)} and {len(second)}")
    if scorer.binary:
        return paired_proportions([s.value for s in first], [s.value for s in second], level)
    delta = scorer.aggregate(second) - scorer.aggregate(first)
    if len(first) == 1 or not math.isfinite(delta):
        return Paired(delta, -math.inf, math.inf, 1.0, "none: one row, or not finite")
    with np.errstate(invalid="ignore"):  # inf - inf in a resample: seen below
        p = _swap_test(scorer, first, second, delta, seed, draws)
        replicas = _replicas(scorer, second, seed, draws) - _replicas(scorer, first, seed, draws)
    if not np.isfinite(replicas).all():
        return Paired(delta, -math.inf, math.inf, p, "none: not finite")
    if not _adds_up(scorer):
        return Paired(delta, *_percentile(replicas, level), p, "paired bootstrap, swap test")
    left = _leave_one_out(scorer, _matrix(second)) - _leave_one_out(scorer, _matrix(first))
    return Paired(delta, *_bca(replicas, delta, left, level), p, "paired bca bootstrap, swap test")


def _at_the_edge(scorer: Scorer, value: float, n: int, level: float) -> Interval:
    """Return the interval of n equal values at an end of the range, where a bootstrap sees no spread.

    A mean of bounded values varies at most as a proportion does, so Wilson's interval is safe.
    """
    low, high = scorer.range
    if not math.isfinite(high - low):
        return Interval(value, value, value, "none: no spread")
    share = wilson(0 if value == low else n, n, level)
    ends = (low + share.low * (high - low), low + share.high * (high - low))
    return Interval(value, *ends, "wilson, no spread")


def _adds_up(scorer: Scorer) -> bool:
    return type(scorer).aggregate is Scorer.aggregate


def _matrix(scores: Sequence[Score]) -> Array:
    return np.array([s.sums for s in scores], dtype=np.float64)


def _combine(scorer: Scorer, sums: Array) -> Array:
    """Apply `combine` to each row of sums; plain means at once."""
    if type(scorer).combine is Scorer.combine:
        return sums[:, 0] / sums[:, 1]
    return np.array([scorer.combine(row) for row in sums.tolist()])


def _blocks(draws: int, n: int) -> list[tuple[int, int]]:
    step = max(1, _BLOCK // n)
    return [(start, min(step, draws - start)) for start in range(0, draws, step)]


def _replicas(scorer: Scorer, scores: Sequence[Score], seed: int, draws: int) -> Array:
    """Return the aggregate of each resample; the draws depend on seed and count only."""
    n = len(scores)
    parts = []
    for start, size in _blocks(draws, n):
        drawn = resample.indices(seed, f"bootstrap-{start}", size, n)
        if _adds_up(scorer):
            parts.append(_combine(scorer, resample.counts(drawn, n) @ _matrix(scores)))
        else:
            parts.append(np.array([scorer.aggregate([scores[i] for i in row]) for row in drawn]))
    return np.concatenate(parts)


def _swap_test(
    scorer: Scorer,
    first: Sequence[Score],
    second: Sequence[Score],
    delta: float,
    seed: int,
    draws: int,
) -> float:
    n = len(first)
    found = 0
    near = abs(delta) - 1e-12 * max(1.0, abs(delta))  # equal sums in another order round apart
    for start, size in _blocks(draws, n):
        coins = resample.coins(seed, f"swap-{start}", size, n)
        swapped = _swapped(scorer, first, second, coins)
        found += int(np.count_nonzero(np.abs(swapped) >= near))
    return (found + 1) / (draws + 1)


def _swapped(
    scorer: Scorer, first: Sequence[Score], second: Sequence[Score], coins: Array
) -> Array:
    if _adds_up(scorer):
        a, b = _matrix(first), _matrix(second)
        up, down = coins @ a + (1 - coins) @ b, coins @ b + (1 - coins) @ a
        return _combine(scorer, up) - _combine(scorer, down)
    return np.array([_swap_once(scorer, first, second, row) for row in coins.tolist()])


def _swap_once(
    scorer: Scorer, first: Sequence[Score], second: Sequence[Score], coins: Sequence[float]
) -> float:
    up = [a if c else b for a, b, c in zip(first, second, coins, strict=True)]
    down = [b if c else a for a, b, c in zip(first, second, coins, strict=True)]
    return scorer.aggregate(up) - scorer.aggregate(down)


def _leave_one_out(scorer: Scorer, matrix: Array) -> Array:
    return _combine(scorer, matrix.sum(axis=0) - matrix)


def _widened(tail: float, n: int) -> float:
    """Return the tail that makes up for the narrowness of a bootstrap of few rows.

    Source: Hesterberg, The American Statistician 69 (2015), section 4.4 ("expanded percentile"); the
    t quantile by Fisher's expansion (Abramowitz and Stegun 26.7.5, two terms).
    """
    z, free = NormalDist().inv_cdf(tail), n - 1
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return max(NormalDist().cdf(t * math.sqrt(n / free)), 1e-9)


def _is_still(replicas: Array) -> bool:
    """Say whether resampling changes nothing but the last bits."""
    return float(np.ptp(replicas)) <= 1e-12 * max(1.0, float(np.abs(replicas).max()))


def _percentile(replicas: Array, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    return float(np.quantile(replicas, tail)), float(np.quantile(replicas, 1 - tail))


def _bca(replicas: Array, value: float, left_out: Array, level: float) -> tuple[float, float]:
    """Shift the percentiles for bias and skew; a spread of zero gives the value itself."""
    if _is_still(replicas):
        return value, value
    normal = NormalDist()
    below = float(np.mean(replicas < value) + 0.5 * np.mean(replicas == value))
    bias = normal.inv_cdf(min(max(below, 0.5 / len(replicas)), 1 - 0.5 / len(replicas)))
    gaps = left_out.mean() - left_out
    scale = float(np.sum(gaps**2)) ** 1.5
    skew = float(np.sum(gaps**3)) / (6 * scale) if scale > 0 else 0.0

    def shifted(tail: float) -> float:
        z = bias + normal.inv_cdf(tail)
        if skew * z >= 1:  # few rows, much skew: the formula has left its range
            return float(z > 0)
        return normal.cdf(bias + z / (1 - skew * z))

    tail = _widened((1 - level) / 2, len(left_out))
    cuts = np.quantile(replicas, [shifted(tail), shifted(1 - tail)])
    return float(cuts[0]), float(cuts[1])
