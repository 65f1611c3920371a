"""ROUGE-1: F-measure of common words. Knows nothing about the other ROUGEs."""

from stead.scoring import rouge
from stead.scoring.scorer import Sample, Score, Scorer


class Rouge1(Scorer):
    """Mean F-measure of common 1-grams, repeats counted."""

    def score(self, sample: Sample) -> Score:
        """Judge one sample. Raises: EvaluationError when the reference has no 1-gram."""
        return rouge.ngram_score("rouge1", sample, 1)

    def signature(self) -> str:
        """State tokens and stemming."""
        return rouge.SIGNATURE
