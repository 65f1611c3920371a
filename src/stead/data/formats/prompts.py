"""Questions without answers: for methods that write the answers themselves.

Knows nothing about files. A column `prompt` or `question`, text or turns, and none of answers. Chats
that end with the user's turn look like `messages`: name this format for them.
"""

from collections.abc import Iterator
from typing import Any

from stead.core.errors import DataError
from stead.data.format import Fields, Format, first_key, is_words
from stead.data.row import Row
from stead.data.turns import as_messages, is_turns, read_tools, with_system

_TURNS = ("messages", "conversation", "conversations", "chat", "dialogue", "prompt")
_NAMES = ("prompt", "question")
_ANSWERS = (
    "completion", "response", "output", "target", "answer", "answers", "canonical_solution", "solution",
    "targets", "reply", "text", "chosen", "rejected", "label",
)  # fmt: skip


class Prompts(Format):
    """All turns are the prompt; nothing is trained on."""

    kind = "prompts"
    rank = 89
    example = {"prompt": "What is 2 + 3?"}  # noqa: RUF012

    def recognize(self, fields: Fields) -> str | None:
        """Ask for turns that end with a question, or a lone column of questions."""
        if first_key(fields, _ANSWERS) is not None:
            return None
        key = _asked(fields)
        if key is not None:
            return f"a column {key!r} of turns that end with the user's"
        key = first_key(fields, _NAMES)
        if key is None or not isinstance(fields[key], str) or not is_words(fields[key]):
            return None
        return f"a column {key!r} and none of answers"

    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield one row."""
        turns = _asked(fields)
        key = first_key(fields, _NAMES) if turns is None else turns
        if key is None:
            raise DataError("no-question", f"the row has none of {', '.join(_NAMES)}")
        asked = as_messages(fields[key], "user")
        tools = read_tools(fields.get("tools"))
        yield Row("prompts", where, messages=with_system(fields, asked), tools=tools)


def _asked(fields: Fields) -> str | None:
    for key in _TURNS:
        value: Any = fields.get(key)  # Any: a JSON value
        if is_turns(value) and "role" in value[-1] and value[-1]["role"] != "assistant":
            return key
    return None
