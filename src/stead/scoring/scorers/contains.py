"""Contains: the reference occurs in the answer. Knows nothing about word borders."""

from stead.scoring.scorer import Sample, Score, Scorer, failed


class Contains(Scorer):
    """Share of answers that contain their reference, case and white space aside."""

    binary = True

    def score(self, sample: Sample) -> Score:
        """Give 1 when found, else 0. Raises: EvaluationError for an empty reference."""
        wanted = _plain(sample.reference)
        if not wanted:
            raise failed("contains", sample, "the reference is empty, and everything contains it")
        return Score(float(wanted in _plain(sample.answer)))

    def signature(self) -> str:
        """State the normalization."""
        return "norm:casefold"


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
