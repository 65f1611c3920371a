"""Number match: the final number is right, as grade-school maths sets are judged.

Knows nothing about the reasoning before it. `#### 42` marks the answer where it occurs (GSM8K),
else the last number of the text counts.
"""

import re
from decimal import Decimal

from stead.scoring.scorer import Sample, Score, Scorer, failed

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")
_MARK = "####"


class NumberMatch(Scorer):
    """Share of answers whose final number equals the reference's; 1,000 is 1000.0."""

    binary = True

    def score(self, sample: Sample) -> Score:
        """Give 1 for equal numbers, else 0. Raises: EvaluationError: a reference without one."""
        wanted = final_number(sample.reference)
        if wanted is None:
            raise failed("number_match", sample, "the reference holds no number")
        return Score(float(final_number(sample.answer) == wanted))

    def signature(self) -> str:
        """State which number counts."""
        return "number:after-####-else-last"


def final_number(text: str) -> Decimal | None:
    """Return the first number after the last `####`, else the last number, else None."""
    _, mark, rest = text.rpartition(_MARK)
    numbers = _NUMBER.findall(rest)
    if not numbers:
        return None
    return Decimal(numbers[0 if mark else -1].replace(",", ""))
