"""Labelled answers (KTO): a conversation, or prompt and completion, with a yes or no.

Knows nothing about files. The label may be true/false, 1/0, or a word that says the same.
"""

from collections.abc import Iterator
from typing import Any

from stead.core.errors import DataError
from stead.data.format import Fields, Format, first_key
from stead.data.row import Row
from stead.data.turns import as_messages, is_turns, read_tools, read_turns, with_system

_LABELS = ("label", "kto_tag", "desirable")
_PROMPTS = ("prompt", "question", "instruction", "input")
_ANSWERS = ("completion", "response", "output", "answer")
_WORDS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False,
          "good": True, "bad": False}  # fmt: skip


class Labelled(Format):
    """The last answer is what the label judges."""

    kind = "labelled"
    rank = 15
    example = {"prompt": "2 + 3 =", "completion": "5", "label": True}  # noqa: RUF012

    def recognize(self, fields: Fields) -> str | None:
        """Ask for a label that means yes or no, and something to judge."""
        key = first_key(fields, _LABELS)
        if key is None or _label(fields[key]) is None:
            return None
        turns = _turns_key(fields)
        if turns is not None:
            return f"a column {turns!r} of turns with {key!r}"
        prompt, answer = first_key(fields, _PROMPTS), first_key(fields, _ANSWERS)
        if prompt is None or answer is None:
            return None
        return f"columns {prompt!r} and {answer!r} with {key!r}"

    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield one row."""
        key = first_key(fields, _LABELS)
        label = None if key is None else _label(fields[key])
        if label is None:
            found = None if key is None else fields[key]
            raise DataError("bad-label", f"the label is {found!r:.60}, neither yes nor no")
        turns_key = _turns_key(fields)
        prompt, answer = first_key(fields, _PROMPTS), first_key(fields, _ANSWERS)
        if turns_key is not None:
            turns = read_turns(fields[turns_key])
        elif prompt is not None and answer is not None:
            asked = as_messages(fields[prompt], "user")
            turns = (*asked, *as_messages(fields[answer], "assistant"))
        else:
            raise DataError("no-answer", "the row lacks turns, or a prompt with a completion")
        tools = read_tools(fields.get("tools"))
        yield Row("labelled", where, messages=with_system(fields, turns), label=label, tools=tools)


def _turns_key(fields: Fields) -> str | None:
    return next((k for k, v in fields.items() if is_turns(v)), None)


def _label(value: Any) -> bool | None:  # Any: a JSON value
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    return _WORDS.get(value.strip().lower()) if isinstance(value, str) else None
