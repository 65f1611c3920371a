"""Pattern: the answer has a wanted form, said by a regular expression.

Knows nothing about meaning. `pattern:REGEX` is the same form for all rows; without it each row's
reference is the expression.
"""

import re

from stead.core.errors import ConfigError
from stead.scoring.scorer import Sample, Score, Scorer, failed


class Pattern(Scorer):
    """Share of answers in which the expression is found; `.` matches line ends too."""

    binary = True

    def __init__(self, pattern: str | None = None) -> None:
        self._text = pattern
        self._found = None if pattern is None else re.compile(pattern, re.DOTALL)

    @property
    def needs_reference(self) -> bool:
        """Only the form without an expression of its own asks for it."""
        return self._text is None

    @classmethod
    def with_option(cls, option: str) -> "Pattern":
        """Make `pattern:REGEX`. Raises: ConfigError("unknown-option")."""
        try:
            return cls(option)
        except re.error as error:
            raise ConfigError("unknown-option", f"{option!r} is no expression: {error}") from error

    def score(self, sample: Sample) -> Score:
        """Give 1 when found, else 0. Raises: EvaluationError for a reference that is no expression."""
        try:
            wanted = re.compile(sample.reference, re.DOTALL) if self._found is None else self._found
        except re.error as error:
            raise failed("pattern", sample, f"the reference is no expression: {error}") from error
        return Score(float(wanted.search(sample.answer) is not None))

    def signature(self) -> str:
        """State the expression."""
        return "regex:reference" if self._text is None else f"regex:{self._text}"
