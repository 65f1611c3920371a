"""Exact match: the answer is the reference, character for character after outer white space.

Knows nothing about what the text means; `json_match` and `number_match` do.
"""

from typing import Literal

from stead.core.errors import ConfigError
from stead.scoring import text
from stead.scoring.scorer import Sample, Score, Scorer


class ExactMatch(Scorer):
    """Share of answers equal to their reference.

    `normalize="strict"` strips white space at both ends only; `"squad"` also drops case, ASCII
    punctuation and articles before comparing.
    """

    binary = True

    def __init__(self, normalize: Literal["strict", "squad"] = "strict") -> None:
        self.normalize = normalize
        self._clean = text.squad if normalize == "squad" else str.strip

    @classmethod
    def with_option(cls, option: str) -> "ExactMatch":
        """Make `exact_match:squad` or `exact_match:strict`."""
        if option not in ("strict", "squad"):
            raise ConfigError(
                "unknown-option", f"exact_match knows 'strict' and 'squad', not {option!r}"
            )
        return cls("squad" if option == "squad" else "strict")

    def score(self, sample: Sample) -> Score:
        """Give 1 for equal texts, else 0."""
        return Score(float(self._clean(sample.answer) == self._clean(sample.reference)))

    def signature(self) -> str:
        """State the normalization."""
        return f"norm:{self.normalize}"
