"""A metric from a plain function over all answers, for metrics that add up to nothing.

Knows nothing about what the function measures. Try:
`scorers().register("mine", from_function(my_metric))`.
"""

from collections.abc import Callable, Sequence

from stead.core.errors import EvaluationError
from stead.scoring.scorer import Sample, Score, Scorer

Compute = Callable[[Sequence[str], Sequence[str]], float]


class FunctionScorer(Scorer):
    """Score with `compute(predictions, references)`; each resample calls it again.

    One instance serves one evaluation: it remembers the texts that its scores point to.
    """

    compute: Compute

    def __init__(self) -> None:
        self._pairs: list[tuple[str, str]] = []

    def score(self, sample: Sample) -> Score:
        """Judge one sample by calling the function on it alone."""
        self._pairs.append((sample.answer, sample.reference))
        value = self._call([sample.answer], [sample.reference])
        return Score(value, (float(len(self._pairs) - 1),))

    def aggregate(self, scores: Sequence[Score]) -> float:
        """Call the function on all texts the scores stand for."""
        chosen = [self._pairs[int(s.stats[0])] for s in scores]
        return self._call([a for a, _ in chosen], [r for _, r in chosen])

    def _call(self, answers: Sequence[str], references: Sequence[str]) -> float:
        try:
            return float(type(self).compute(answers, references))
        except (ValueError, TypeError, ArithmeticError, LookupError) as error:
            raise EvaluationError(
                "metric-failed", f"{type(self).__name__} failed: {type(error).__name__}: {error}"
            ) from error


def from_function(compute: Compute, *, higher_is_better: bool = True) -> type[FunctionScorer]:
    """Make a scorer class from `compute(predictions, references) -> float`."""
    name = getattr(compute, "__name__", "custom")
    fields = {"compute": staticmethod(compute), "higher_is_better": higher_is_better}
    return type(name, (FunctionScorer,), fields)
