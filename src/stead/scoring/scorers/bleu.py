"""BLEU of the whole corpus, through sacrebleu.

Knows nothing about other n-gram measures. n-gram counts are kept per sample and added up, so the
number equals sacrebleu's corpus score, also after resampling.
Source: Papineni et al., ACL 2002; Post, WMT 2018 (signature).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stead.core.lazy import lazy
from stead.scoring.scorer import Sample, Score, Scorer, failed

if TYPE_CHECKING:
    import sacrebleu
else:
    sacrebleu = lazy("sacrebleu", extra="data")


class Bleu(Scorer):
    """Corpus BLEU-4, 0 to 100: 13a tokens, exponential smoothing, standard brevity penalty."""

    range = (0.0, 100.0)
    requires = ("sacrebleu",)

    def __init__(self) -> None:
        self._corpus = sacrebleu.BLEU(tokenize="13a", smooth_method="exp", force=True)
        # One sentence rarely has a matching 4-gram: its own value uses the orders it has.
        self._sentence = sacrebleu.BLEU(smooth_method="exp", effective_order=True, force=True)

    def score(self, sample: Sample) -> Score:
        """Keep lengths and n-gram counts. Raises: EvaluationError when the reference is empty."""
        if not sample.reference.strip():
            raise failed("bleu", sample, "the reference is empty")
        stats = self._corpus._extract_corpus_statistics([sample.answer], [[sample.reference]])[0]
        value = self._sentence._compute_score_from_stats(list(stats)).score
        return Score(float(value), tuple(float(s) for s in stats))

    def combine(self, sums: Sequence[float]) -> float:
        """Let sacrebleu turn added-up counts into the score."""
        return float(self._corpus._compute_score_from_stats([float(s) for s in sums]).score)

    def signature(self) -> str:
        """Return sacrebleu's signature with the brevity penalty spelled out."""
        self._corpus.num_refs = 1
        return f"{self._corpus.get_signature().format()}|bp:exp(1-ref/hyp)"
