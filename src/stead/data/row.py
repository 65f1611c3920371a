"""One example, whatever file and columns it came from.

Knows nothing about files, templates or tokens.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from stead.messages import Message

Kind = Literal["messages", "text", "preference", "labelled", "prompts"]


@dataclass(frozen=True, slots=True)
class Row:
    """An example with its place. Which fields are set depends on `kind`:

    messages: `messages` (every turn, the answers included). text: `text`. preference: `messages`
    (the prompt's turns), `chosen`, `rejected`. labelled: `messages` and `label`. prompts: `messages`,
    of which a last answer is only the reference.
    """

    kind: Kind
    where: str  # "file.jsonl:12", for people
    messages: tuple[Message, ...] = ()
    text: str | None = None
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    label: bool | None = None
    margin: float | None = None
    tools: tuple[dict[str, Any], ...] = ()  # Any: JSON schema of each function
    meta: dict[str, Any] = field(default_factory=dict)  # Any: JSON values of extra columns
