"""What the scores say: one model with error bars, or two models on the same rows with a verdict.

Knows nothing about how scores were made or shown. "no difference shown" is a result of its own: the
rows do not tell the models apart, which is not "equal".
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from stead.core.errors import EvaluationError
from stead.evaluation.evaluate import Outcome
from stead.scoring import stats
from stead.scoring.scorer import Scorer

Verdict = Literal["better", "worse", "no difference shown"]
Result = dict[str, dict[str, Any]]  # Any: JSON values; metric -> numbers


def summarize(
    outcome: Outcome, scorers: Mapping[str, Scorer], *, seed: int = 0, level: float = 0.95
) -> Result:
    """Return each metric's value with its interval."""
    result = {}
    for name, scorer in scorers.items():
        scores = outcome.scores[name]
        found = stats.interval(scorer, scores, seed=seed, level=level)
        result[name] = {
            "value": finite(found.value),
            "ci_low": finite(found.low),
            "ci_high": finite(found.high),
            "n": len(scores),
            "higher_is_better": scorer.higher_is_better,
            "level": level,
            "method": found.method,
            "signature": scorer.signature(),
        }
    return result


def compare(
    base: Outcome,
    tuned: Outcome,
    scorers: Mapping[str, Scorer],
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Result:
    """Return per metric both values, the paired difference (tuned - base), interval, p, verdict.

    `ci_low`, `ci_high` belong to `delta`; each model's own interval is beside its value.
    Raises: EvaluationError("not-paired") unless both answered the same rows in the same order.
    """
    _check_pairs(base, tuned)
    result = {}
    for name, scorer in scorers.items():
        first, second = base.scores[name], tuned.scores[name]
        found = stats.paired(scorer, first, second, seed=seed, level=level)
        result[name] = {
            **_side("base", stats.interval(scorer, first, seed=seed, level=level)),
            **_side("tuned", stats.interval(scorer, second, seed=seed, level=level)),
            "delta": finite(found.delta),
            "ci_low": finite(found.low),
            "ci_high": finite(found.high),
            "p": found.p,
            "n": len(first),
            "higher_is_better": scorer.higher_is_better,
            "level": level,
            "verdict": verdict(found, scorer.higher_is_better, 1 - level),
            "method": found.method,
            "signature": scorer.signature(),
        }
    return result


def verdict(found: stats.Paired, higher_is_better: bool, alpha: float = 0.05) -> Verdict:
    """Judge a paired difference: test and interval must agree, so neither alone raises an alarm."""
    shown = found.p <= alpha and not found.low <= 0 <= found.high
    if not shown:
        return "no difference shown"
    return "better" if (found.delta > 0) == higher_is_better else "worse"


def finite(value: float) -> float | None:
    """Return a number that JSON can hold; None for infinity and NaN."""
    return value if math.isfinite(value) else None


def _side(who: str, found: stats.Interval) -> dict[str, float | None]:
    return {
        who: finite(found.value),
        f"{who}_ci_low": finite(found.low),
        f"{who}_ci_high": finite(found.high),
    }


def _check_pairs(base: Outcome, tuned: Outcome) -> None:
    left = [(item.where, item.reference) for item in base.items]
    right = [(item.where, item.reference) for item in tuned.items]
    if left != right:
        raise EvaluationError(
            "not-paired", f"the models answered different rows ({len(left)} and {len(right)})"
        )
