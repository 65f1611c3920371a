"""Prompt and completion: two columns, each text or a list of turns.

Knows nothing about files. Accepts the usual pairs of names, e.g. prompt/response and input/output.
"""

from collections.abc import Iterator

from stead.core.errors import DataError
from stead.data.format import Fields, Format, first_key
from stead.data.row import Row
from stead.data.turns import as_messages, read_tools, with_system

PROMPTS = ("prompt", "input", "source", "query", "instruction", "inputs", "problem")
ANSWERS = (
    "completion", "response", "output", "target", "answer", "canonical_solution", "solution", "targets",
    "reply",
)  # fmt: skip


class Pairs(Format):
    """The prompt is the user's turn (or turns), the completion the answer."""

    kind = "messages"
    rank = 40
    example = {"prompt": "2 + 3 =", "completion": "5"}  # noqa: RUF012

    def recognize(self, fields: Fields) -> str | None:
        """Ask for one column of each list of names."""
        prompt, answer = first_key(fields, PROMPTS), first_key(fields, ANSWERS)
        if prompt is None or answer is None:
            return None
        return f"columns {prompt!r} and {answer!r} (prompt and completion)"

    def lacks(self, fields: Fields) -> str | None:
        """One of the two without the other."""
        prompt, answer = first_key(fields, PROMPTS), first_key(fields, ANSWERS)
        if (prompt is None) == (answer is None):
            return None
        return "'completion'" if answer is None else "'prompt'"

    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield one row."""
        prompt, answer = first_key(fields, PROMPTS), first_key(fields, ANSWERS)
        if prompt is None or answer is None:
            raise DataError("no-answer", f"the row lacks {self.lacks(fields) or 'prompt'}")
        asked = as_messages(fields[prompt], "user")
        turns = (*asked, *as_messages(fields[answer], "assistant"))
        tools = read_tools(fields.get("tools"))
        yield Row("messages", where, messages=with_system(fields, turns), tools=tools)
