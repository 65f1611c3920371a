"""Brevity: an answer is no longer than it may be; what is longer loses value bit by bit.

Knows nothing about content. Counts the answer's tokens where they are known (rewards), else words.
"""

from stead.core.errors import ConfigError
from stead.scoring.scorer import Sample, Score, Scorer


class Brevity(Scorer):
    """1 up to `free`, falling in a line to 0 at `most`; without them, the reference and twice it.

    With `brevity:FREE-MOST` it is the soft punishment of answers that run into the limit, plus 1.
    Source: arXiv:2503.14476 eq. 13.
    """

    def __init__(self, free: int | None = None, most: int | None = None) -> None:
        self._bounds = None if free is None or most is None else (free, most)

    @property
    def needs_reference(self) -> bool:
        """Only the form without bounds asks for it."""
        return self._bounds is None

    @classmethod
    def with_option(cls, option: str) -> "Brevity":
        """Make `brevity:192-256`. Raises: ConfigError("unknown-option")."""
        free, _, most = option.partition("-")
        if not (free.isdigit() and most.isdigit()) or int(free) >= int(most):
            raise ConfigError(
                "unknown-option", f"brevity takes two rising lengths like 192-256, not {option!r}"
            )
        return cls(int(free), int(most))

    def score(self, sample: Sample) -> Score:
        """Give a value from 0 to 1."""
        tokens = sample.meta.get("tokens")
        length = tokens if isinstance(tokens, int) else len(sample.answer.split())
        words = max(1, len(sample.reference.split()))
        free, most = (words, 2 * words) if self._bounds is None else self._bounds
        return Score(min(1.0, max(0.0, (most - length) / (most - free))))

    def signature(self) -> str:
        """State the bounds."""
        bounds = "reference" if self._bounds is None else f"{self._bounds[0]}-{self._bounds[1]}"
        return f"length:{bounds}"
