"""chrF of the whole corpus: overlap of character sequences, through sacrebleu.

Knows nothing about words, so it works where words have endings or no spaces between them.
Source: Popović, WMT 2015.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stead.core.lazy import lazy
from stead.scoring.scorer import Sample, Score, Scorer, failed

if TYPE_CHECKING:
    import sacrebleu
else:
    sacrebleu = lazy("sacrebleu", extra="data")


class Chrf(Scorer):
    """Corpus chrF2 over 1- to 6-grams of characters, 0 to 100."""

    range = (0.0, 100.0)
    requires = ("sacrebleu",)

    def __init__(self) -> None:
        self._metric = sacrebleu.CHRF()

    def score(self, sample: Sample) -> Score:
        """Keep counts per order. Raises: EvaluationError when the reference is empty."""
        if not sample.reference.strip():
            raise failed("chrf", sample, "the reference is empty")
        stats = self._metric._extract_corpus_statistics([sample.answer], [[sample.reference]])[0]
        counts = tuple(float(s) for s in stats)
        return Score(self.combine(counts), counts)

    def combine(self, sums: Sequence[float]) -> float:
        """Let sacrebleu turn added-up counts into the score."""
        return float(self._metric._compute_score_from_stats([float(s) for s in sums]).score)

    def signature(self) -> str:
        """Return sacrebleu's signature."""
        self._metric.num_refs = 1
        return str(self._metric.get_signature().format())
