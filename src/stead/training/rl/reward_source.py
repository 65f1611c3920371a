"""What a reward is: answers in, one number each out.

Knows nothing about where the numbers come from.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stead.messages import Message


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer with everything a reward may look at. `completion` is without the end token."""

    where: str
    messages: tuple[Message, ...]
    completion: str
    reference: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON values of extra columns
    stopped: bool = True
    tokens: int = 0

    @property
    def prompt(self) -> str:
        """The text of the last turn before the answer."""
        return self.messages[-1].text if self.messages else ""


class Reward(ABC):
    """One source of reward; `name` says which in logs and errors."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def __call__(self, answers: Sequence[Answered]) -> list[float]:
        """Return one number per answer."""
