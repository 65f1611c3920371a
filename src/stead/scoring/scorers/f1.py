"""Token F1: how many words of answer and reference are common, repeats counted.

Knows nothing about word order. Source: `compute_f1` of the SQuAD evaluation script, version 2.0.
"""

from collections import Counter

from stead.scoring import text
from stead.scoring.scorer import Sample, Score, Scorer


class F1(Scorer):
    """Mean F1 over bags of words, normalized as SQuAD does; two empty texts agree (1)."""

    def score(self, sample: Sample) -> Score:
        """Give the harmonic mean of precision and recall of the common words."""
        answer = Counter(text.squad(sample.answer).split())
        reference = Counter(text.squad(sample.reference).split())
        if not answer or not reference:
            return Score(float(answer == reference))
        common = (answer & reference).total()
        return Score(2 * common / (answer.total() + reference.total()))

    def signature(self) -> str:
        """State the normalization."""
        return "norm:squad|multiset"
