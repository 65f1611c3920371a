"""What a routing condition may ask about a request: the names, their types, and how each is looked up.

Knows nothing about the grammar (`rules`) or requests (`inference/facts` has their facts).
"""

from collections.abc import Callable
from typing import Literal, Protocol

Kind = Literal["number", "text", "switch", "tags"]
Value = float | str | bool | frozenset[str]


class Facts(Protocol):
    """What a condition may ask about a request."""

    @property
    def text(self) -> str:
        """What the user said last."""

    @property
    def length(self) -> int:
        """Characters of all that is sent."""

    @property
    def tokens(self) -> int:
        """Tokens of all that is sent, about."""

    @property
    def turns(self) -> int:
        """Messages of the conversation."""

    @property
    def model(self) -> str:
        """The model's name in the request."""

    @property
    def is_code(self) -> bool:
        """The text holds code."""

    @property
    def requires_vision(self) -> bool:
        """There are images."""

    @property
    def requires_tools(self) -> bool:
        """Functions may be called."""

    @property
    def requires_json(self) -> bool:
        """The answer must be JSON."""

    @property
    def tags(self) -> frozenset[str]:
        """What the caller said of the request."""


Ask = Callable[[Facts], Value]
NAMES: dict[str, tuple[Kind, Ask]] = {
    "input.length": ("number", lambda f: f.length),
    "input.tokens": ("number", lambda f: f.tokens),
    "input.turns": ("number", lambda f: f.turns),
    "input.model": ("text", lambda f: f.model),
    "input.text": ("text", lambda f: f.text),
    "input": ("text", lambda f: f.text),
    "input.is_code": ("switch", lambda f: f.is_code),
    "input.requires_vision": ("switch", lambda f: f.requires_vision),
    "input.requires_tools": ("switch", lambda f: f.requires_tools),
    "input.requires_json": ("switch", lambda f: f.requires_json),
    "tags": ("tags", lambda f: f.tags),
    "input.tags": ("tags", lambda f: f.tags),
}
