"""Alpaca: `instruction`, maybe `input`, and `output`; or an instruction with nested `instances`.

Knows nothing about files. Source: github.com/tatsu-lab/stanford_alpaca; `system` and `history` as in
LLaMA-Factory's data/README.md.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from stead.core.errors import DataError
from stead.data.format import Fields, Format, first_key, text_of
from stead.data.row import Row
from stead.data.turns import read_tools, with_system
from stead.messages import Message

_OUTPUTS = ("output", "response", "answer", "completion")


class Alpaca(Format):
    """Instruction and input, joined by a line break, are the user's turn."""

    kind = "messages"
    rank = 30
    example = {"instruction": "Add the numbers.", "input": "2, 3", "output": "5"}  # noqa: RUF012

    def recognize(self, fields: Fields) -> str | None:
        """Ask for `instruction` and an output column or `instances`."""
        if "instruction" not in fields:
            return None
        if isinstance(fields.get("instances"), list):
            return "columns 'instruction' and 'instances' (Alpaca seed tasks)"
        output = first_key(fields, _OUTPUTS)
        return None if output is None else f"columns 'instruction' and {output!r} (Alpaca)"

    def lacks(self, fields: Fields) -> str | None:
        """An instruction alone lacks its output."""
        alone = "instruction" in fields and self.recognize(fields) is None
        return "'output'" if alone else None

    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield one row, or one per instance."""
        instances = fields.get("instances")
        if not isinstance(instances, list):
            yield _row(fields, where)
            return
        for number, one in enumerate(instances, 1):
            if not isinstance(one, Mapping):
                raise DataError("bad-instance", f"instance {number} is no object")
            inside = {"instruction": fields.get("instruction"), **one}
            yield _row(inside, f"{where}#{number}" if len(instances) > 1 else where)


def _row(fields: Fields, where: str) -> Row:
    instruction = text_of(fields, "instruction")
    given = text_of(fields, "input") if fields.get("input") is not None else ""
    output = first_key(fields, _OUTPUTS)
    if output is None:
        raise DataError("no-answer", "the row has no output")
    asked = f"{instruction}\n{given}" if given.strip() else instruction
    turns = (
        *_history(fields),
        Message("user", asked),
        Message("assistant", text_of(fields, output)),
    )
    tools = read_tools(fields.get("tools"))
    return Row("messages", where, messages=with_system(fields, turns), tools=tools)


def _history(fields: Fields) -> Iterator[Message]:
    listed: Any = fields.get("history")  # Any: a JSON value
    for pair in listed if isinstance(listed, list) else []:
        if not isinstance(pair, list) or len(pair) != 2:
            raise DataError("bad-history", f"a turn of the history is no pair: {pair!r:.60}")
        yield Message("user", str(pair[0]))
        yield Message("assistant", str(pair[1]))
