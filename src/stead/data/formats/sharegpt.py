"""ShareGPT: `conversations` of turns with `from` and `value`, maybe `system` and `tools`.

Knows nothing about files. Roles: human, gpt, system, function_call, observation, and their synonyms.
"""

from collections.abc import Iterator

from stead.data.format import Fields, Format
from stead.data.row import Row
from stead.data.turns import is_turns, read_tools, read_turns, with_system


class ShareGpt(Format):
    """Each turn is one message; function calls become tool calls, observations tool results."""

    kind = "messages"
    rank = 20
    example = {  # noqa: RUF012
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]
    }

    def recognize(self, fields: Fields) -> str | None:
        """Ask for a column of turns that carry `from`."""
        key = _column(fields)
        return (
            None if key is None else f"a column {key!r} of turns with 'from' and 'value' (ShareGPT)"
        )

    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield one row."""
        key = _column(fields)
        turns = read_turns(fields.get("conversations" if key is None else key))
        tools = read_tools(fields.get("tools"))
        yield Row("messages", where, messages=with_system(fields, turns), tools=tools)


def _column(fields: Fields) -> str | None:
    return next((k for k, v in fields.items() if is_turns(v) and "from" in v[0]), None)
