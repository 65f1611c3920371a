"""ROUGE-L: F-measure of the longest common word sequence. Knows nothing about sentence splitting."""  # noqa: N999 - the metric's own spelling

from stead.scoring import rouge
from stead.scoring.scorer import Sample, Score, Scorer


class RougeL(Scorer):
    """Mean F-measure of the longest common subsequence of words."""

    def score(self, sample: Sample) -> Score:
        """Judge one sample. Raises: EvaluationError when the reference has no words."""
        return rouge.lcs_score("rougeL", sample)

    def signature(self) -> str:
        """State tokens and stemming."""
        return rouge.SIGNATURE
