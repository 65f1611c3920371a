"""Perplexity: exp of the mean negative log-probability per token of the reference.

Knows nothing about models. Only tokens that exist count, so padding never does; tokens are pooled
over the corpus, so a long text weighs more than a short one.
"""

import math
from collections.abc import Sequence

from stead.scoring.scorer import Sample, Score, Scorer, failed


class Perplexity(Scorer):
    """exp(total nll / total tokens); lower is better, 1 is certainty. Units: natural logs in."""

    needs = "logprobs"
    higher_is_better = False
    range = (1.0, math.inf)

    def score(self, sample: Sample) -> Score:
        """Give one sample's perplexity. Raises: EvaluationError: no tokens, or not finite."""
        count = len(sample.logprobs)
        if count == 0:
            raise failed("perplexity", sample, "no token of the reference was scored")
        nll = -math.fsum(sample.logprobs)
        if not math.isfinite(nll):
            raise failed("perplexity", sample, f"the log-probability is {-nll!r}")
        return Score(self.combine((nll, count)), (nll, float(count)))

    def combine(self, sums: Sequence[float]) -> float:
        """Return exp(nll / tokens); inf where a float cannot hold it."""
        mean = sums[0] / sums[1]
        return math.exp(mean) if mean < 709 else math.inf  # exp(709.8) overflows a float64

    def signature(self) -> str:
        """State the unit of the average."""
        return "per:token|pooled"
