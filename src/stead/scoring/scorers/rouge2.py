"""ROUGE-2: F-measure of common word pairs. Knows nothing about the other ROUGEs."""

from stead.scoring import rouge
from stead.scoring.scorer import Sample, Score, Scorer


class Rouge2(Scorer):
    """Mean F-measure of common 2-grams, repeats counted."""

    def score(self, sample: Sample) -> Score:
        """Judge one sample. Raises: EvaluationError when the reference has no 2-gram."""
        return rouge.ngram_score("rouge2", sample, 2)

    def signature(self) -> str:
        """State tokens and stemming."""
        return rouge.SIGNATURE
