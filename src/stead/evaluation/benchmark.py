"""What is asked of a model and what a good answer would be.

Knows nothing about models, scorers or files: a benchmark yields items, whoever asks.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stead.core.registry import Registry
from stead.messages import Message


@dataclass(frozen=True, slots=True)
class Item:
    """One question. A chat has `messages` and the `answer` turn; plain text has only `text`.

    `where` names the row for people and pairs the answers of two models.
    """

    where: str
    messages: tuple[Message, ...] = ()
    answer: Message | None = None
    text: str | None = None
    tools: tuple[dict[str, Any], ...] = ()  # Any: JSON schema of each function
    meta: dict[str, Any] = field(default_factory=dict)  # Any: JSON values of extra columns

    @property
    def prompt(self) -> str:
        """The last turn before the answer, for people."""
        return self.messages[-1].text if self.messages else ""

    @property
    def reference(self) -> str:
        """The text to compare answers with; "" for plain text."""
        return "" if self.answer is None else answer_text(self.answer)


def answer_text(message: Message) -> str:
    """Return an answer as one text: its words, or its tool calls as JSON lines when it has none."""
    if message.text or not message.tool_calls:
        return message.text
    calls = (f'{{"name": "{c.name}", "arguments": {c.arguments}}}' for c in message.tool_calls)
    return "\n".join(calls)


class Benchmark(ABC):
    """Data and prompt. `metrics` are the scorers that suit it, for when none are named."""

    name: str
    metrics: tuple[str, ...]

    @abstractmethod
    def items(self) -> Sequence[Item]:
        """Return the items, always in the same order."""


def benchmarks() -> Registry[Benchmark]:
    """Return the registry of benchmarks: built-in files, entry points `stead.benchmark`, plugins."""
    return _REGISTRY


_REGISTRY: Registry[Benchmark] = Registry(
    "benchmark", "stead.evaluation.benchmarks", "stead.evaluation.benchmark:Benchmark"
)
