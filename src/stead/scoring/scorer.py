"""Judge one answer; the same scorers serve evaluation and, as rewards, training.

Knows nothing about models, data sets or reports. Light: a scorer's library loads on first use.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal


@dataclass(frozen=True, slots=True)
class Sample:
    """What a scorer sees of one example. `logprobs` are natural logs of the reference's tokens."""

    prompt: str
    answer: str
    reference: str
    logprobs: tuple[float, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)  # Any: JSON values of extra columns


@dataclass(frozen=True, slots=True)
class Score:
    """One sample's value, and what a corpus-level aggregate needs (e.g. n-gram counts)."""

    value: float
    stats: tuple[float, ...] = ()


class Scorer(ABC):
    """Score samples one by one, then aggregate.

    The file name is the scorer's name. `needs` says what the evaluation must obtain: a generated
    answer, or log-probabilities of the reference. `aggregate` must be a function of the scores
    alone, so that a bootstrap can resample them.
    """

    needs: ClassVar[Literal["answer", "logprobs"]] = "answer"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    requires: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def score(self, sample: Sample) -> Score:
        """Judge one sample. Raises: EvaluationError when it cannot be computed, never 0 instead."""

    def aggregate(self, scores: Sequence[Score]) -> float:
        """Combine scores into the reported number; the mean unless overridden."""
        return sum(s.value for s in scores) / len(scores)
