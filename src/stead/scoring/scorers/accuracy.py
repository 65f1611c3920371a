"""Accuracy: the answer names the right class. Knows nothing about the set of classes."""

from stead.scoring import text
from stead.scoring.scorer import Sample, Score, Scorer, failed


class Accuracy(Scorer):
    """Share of answers whose first line is the reference label.

    Case, spaces and outer punctuation do not count ("Positive." is "positive"); a longer answer that
    merely contains the label is wrong.
    """

    binary = True

    def score(self, sample: Sample) -> Score:
        """Give 1 for the right label, else 0. Raises: EvaluationError for an empty label."""
        wanted = text.label(sample.reference)
        if not wanted:
            raise failed("accuracy", sample, f"the label {sample.reference!r} is empty")
        lines = sample.answer.strip().splitlines()
        return Score(float(bool(lines) and text.label(lines[0]) == wanted))

    def signature(self) -> str:
        """State the normalization."""
        return "norm:label|first-line"
