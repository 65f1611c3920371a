"""JSON match: both texts are JSON and mean the same. Knows nothing about schemas."""

import json
from typing import Any

from stead.scoring.scorer import Sample, Score, Scorer, failed


class JsonMatch(Scorer):
    """Share of answers that parse to the reference's value.

    Order of keys and spelling of numbers do not count; 1 and true differ; an answer with text around
    its JSON is wrong, because a program could not read it.
    """

    binary = True

    def score(self, sample: Sample) -> Score:
        """Give 1 for equal values, else 0. Raises: EvaluationError when the reference is no JSON."""
        try:
            wanted = json.loads(sample.reference)
        except ValueError as error:
            raise failed("json_match", sample, f"the reference is no JSON ({error})") from error
        try:
            found = json.loads(sample.answer)
        except (ValueError, RecursionError):
            return Score(0.0)
        return Score(float(_same(found, wanted)))

    def signature(self) -> str:
        """State what is compared."""
        return "parsed"


def _same(left: Any, right: Any) -> bool:  # Any: JSON values
    """Compare as JSON does: 1 equals 1.0, but no number equals true."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)
