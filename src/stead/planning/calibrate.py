"""What finished runs teach a forecast: a factor per part, drawn from its prior only by evidence.

Knows nothing about what the parts are. The model: needed = Σ factor × part, with an error that is a
share of the whole. Factors have a normal prior around the shipped ones, so few runs change little
and many decide; the spread has a prior worth some runs, so its interval narrows with evidence.
Source: Bayesian linear regression with known design, Bishop 2006, section 3.3; the t interval for
an unknown variance, Gelman et al., Bayesian Data Analysis, section 14.2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stead.planning.plan import Interval

_NORMAL_95 = 1.6449  # the 95 % point of the normal distribution: 90 % lie between ± this
_ROUNDS = 3  # of reweighting
_OUTLIER = 2.5  # spreads beyond which a run counts less
_KIND_RUNS = 3.0  # runs of a kind that weigh as much as "kinds do not differ"

Parts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed before any run. `spread`: relative error; `runs`: how many it is worth.

    `factors` names the mean and the standard deviation of each part's factor; `other` is for parts
    that are not named.
    """

    factors: Mapping[str, tuple[float, float]]
    spread: float
    runs: float = 4.0
    other: tuple[float, float] = (1.0, 0.5)


@dataclass(frozen=True, slots=True)
class Example:
    """A finished run: its parts, what it needed, how much it counts and what kind it was."""

    parts: Parts
    needed: float
    weight: float = 1.0
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Fit:
    """Factors with their covariance, and the relative spread of runs around them."""

    names: tuple[str, ...]
    factors: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    spread: float
    freedom: float
    runs: int
    offsets: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def predict(self, parts: Parts, kind: str = "") -> Interval:
        """Return the forecast for counted parts, with the range for nine runs out of ten."""
        x = [parts.get(name, 0.0) for name in self.names]
        shift, seen = self.offsets.get(kind, (0.0, 0.0))
        middle = max(1e-12, math.exp(shift) * _dot(x, self.factors))
        unknown = _quadratic(self.covariance, x) / middle**2
        between = self.spread**2 / (seen + _KIND_RUNS)
        half = _student(self.freedom) * math.sqrt(self.spread**2 + unknown + between)
        return Interval(middle * math.exp(-half), middle, middle * math.exp(half))

    def each(self, parts: Parts) -> dict[str, Interval]:
        """Return every part after its factor, with the range that its factor may have."""
        t = _student(self.freedom)
        found = {}
        for i, name in enumerate(self.names):
            value, middle = parts.get(name, 0.0), self.factors[i]
            half = t * math.sqrt(self.covariance[i][i])
            if value:
                found[name] = Interval(value * max(0.0, middle - half), value * middle, value * (middle + half))  # fmt: skip
        return found


def fit(examples: Sequence[Example], prior: Prior, names: Sequence[str]) -> Fit:
    """Fit the factors of the named parts to finished runs; with none, return the prior."""
    used = [e for e in examples if e.needed > 0]
    weights = [e.weight for e in used]
    spread = prior.spread
    solved = _solve(used, weights, prior, names, spread)
    for _ in range(_ROUNDS if used else 0):
        errors = _left_out(used, weights, solved, names, spread)
        weights = [e.weight * _trust(r, spread) for e, r in zip(used, errors, strict=True)]
        squares = sum(w * r * r for w, r in zip(weights, errors, strict=True))
        spread = math.sqrt((prior.runs * prior.spread**2 + squares) / (prior.runs + sum(weights)))
        solved = _solve(used, weights, prior, names, spread)
    factors, covariance = solved
    return Fit(
        tuple(names), factors, covariance, spread, prior.runs + sum(weights), len(used),
        _offsets(used, weights, factors, names, spread),
    )  # fmt: skip


Solved = tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]


def _solve(
    examples: Sequence[Example],
    weights: Sequence[float],
    prior: Prior,
    names: Sequence[str],
    spread: float,
) -> Solved:
    """Return the factors' mean and covariance given the spread."""
    believed = [prior.factors.get(name, prior.other) for name in names]
    count = len(names)
    A = [[0.0] * count for _ in names]
    b = [mean / sd**2 for mean, sd in believed]
    for i, (_, sd) in enumerate(believed):
        A[i][i] = 1 / sd**2
    for example, weight in zip(examples, weights, strict=True):
        row = _relative(example, names)
        trust = weight / spread**2
        for i in range(count):
            b[i] += trust * row[i]
            for j in range(count):
                A[i][j] += trust * row[i] * row[j]
    inverse = _inverse(A)
    return tuple(_dot(line, b) for line in inverse), tuple(map(tuple, inverse))


def _trust(error: float, spread: float) -> float:
    """Return how much a run that is `error` off counts: all, or less with the square of the excess."""
    return min(1.0, _OUTLIER * spread / max(abs(error), 1e-9)) ** 2


def _relative(example: Example, names: Sequence[str]) -> list[float]:
    return [example.parts.get(name, 0.0) / example.needed for name in names]


def _left_out(
    examples: Sequence[Example],
    weights: Sequence[float],
    solved: Solved,
    names: Sequence[str],
    spread: float,
) -> list[float]:
    """Return each run's relative error as if the run itself had not been used."""
    factors, covariance = solved
    errors = []
    for example, weight in zip(examples, weights, strict=True):
        row = _relative(example, names)
        leverage = min(0.9, weight / spread**2 * _quadratic(covariance, row))
        errors.append((_dot(row, factors) - 1.0) / (1.0 - leverage))
    return errors


def _offsets(
    examples: Sequence[Example],
    weights: Sequence[float],
    factors: Sequence[float],
    names: Sequence[str],
    spread: float,
) -> dict[str, tuple[float, float]]:
    """Return what runs of a kind need more than the factors say: a shrunk mean, and its weight."""
    sums: dict[str, tuple[float, float]] = {}
    for example, weight in zip(examples, weights, strict=True):
        expected = _dot([example.parts.get(name, 0.0) for name in names], factors)
        if expected > 0:
            more, seen = sums.get(example.kind, (0.0, 0.0))
            ratio = math.log(example.needed / expected)
            bounded = max(-_OUTLIER * spread, min(_OUTLIER * spread, ratio))
            sums[example.kind] = (more + weight * bounded, seen + weight)
    return {k: (more / (seen + _KIND_RUNS), seen) for k, (more, seen) in sums.items()}


def _student(freedom: float) -> float:
    """Return the 95 % point of Student's t, by Fisher's expansion in 1/freedom.

    Source: Abramowitz and Stegun, 26.7.5.
    """
    z, n = _NORMAL_95, max(2.0, freedom)
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _quadratic(matrix: Sequence[Sequence[float]], x: Sequence[float]) -> float:
    return max(0.0, sum(x[i] * _dot(line, x) for i, line in enumerate(matrix)))


def _inverse(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """Invert a small positive definite matrix by Gauss and Jordan, the largest pivot first."""
    n = len(matrix)
    wide = [[*row, *(1.0 if i == j else 0.0 for j in range(n))] for i, row in enumerate(matrix)]
    for column in range(n):
        pivot = max(range(column, n), key=lambda r: abs(wide[r][column]))
        wide[column], wide[pivot] = wide[pivot], wide[column]
        scale = wide[column][column]
        wide[column] = [v / scale for v in wide[column]]
        for r in range(n):
            if r != column and wide[r][column]:
                by = wide[r][column]
                wide[r] = [v - by * w for v, w in zip(wide[r], wide[column], strict=True)]
    return [row[n:] for row in wide]
