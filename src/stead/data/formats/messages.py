"""OpenAI messages: a column of turns with `role` and `content`, `tool_calls` and `tools` if any.

Knows nothing about files. A conversation split into `prompt` and `completion` lists is joined by the
format `pairs`.
"""

from collections.abc import Iterator

from stead.data.format import Fields, Format
from stead.data.row import Row
from stead.data.turns import is_turns, read_tools, read_turns, with_system

_NAMES = ("messages", "conversation", "conversations", "chat", "dialogue", "dialog", "turns")
_HALVES = ("prompt", "completion", "response", "output", "answer", "chosen", "rejected")


class Messages(Format):
    """Each turn is one message, with its reasoning, name and tool calls."""

    kind = "messages"
    rank = 21
    example = {  # noqa: RUF012
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    }

    def recognize(self, fields: Fields) -> str | None:
        """Ask for a column of turns without `from`."""
        key = _column(fields)
        return None if key is None else f"a column {key!r} of turns with 'role' and 'content'"

    def lacks(self, fields: Fields) -> str | None:
        """A list under a usual name whose elements are no turns."""
        key = next((n for n in _NAMES if isinstance(fields.get(n), list)), None)
        if key is None or is_turns(fields[key]):
            return None
        return f"turns with 'role' and 'content' in the column {key!r}"

    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield one row."""
        key = _column(fields)
        turns = read_turns(fields.get("messages" if key is None else key))
        tools = read_tools(fields.get("tools", fields.get("functions")))
        yield Row("messages", where, messages=with_system(fields, turns), tools=tools)


def _column(fields: Fields) -> str | None:
    named = [n for n in _NAMES if n in fields]
    others = [k for k in fields if k not in _NAMES and k not in _HALVES]
    for key in [*named, *others]:
        if is_turns(fields[key]) and "from" not in fields[key][0]:
            return key
    return None
