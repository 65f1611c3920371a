"""Preference pairs as OpenAI's fine-tuning takes them: `input`, `preferred_output`, `non_preferred_output`.

Knows nothing about files. Source: the published OpenAPI description of the OpenAI API (schema FineTunePreferenceRequestInput).
"""

from collections.abc import Iterator
from typing import Any

from stead.core.errors import DataError
from stead.data.format import Fields, Format
from stead.data.row import Row
from stead.data.turns import is_turns, read_tools, read_turns

_ANSWERS = ("preferred_output", "non_preferred_output")


class OpenAIPreference(Format):
    """The prompt's turns and tools stand below `input`; each answer is a list of turns."""

    kind = "preference"
    rank = 9
    example = {  # noqa: RUF012
        "input": {"messages": [{"role": "user", "content": "2 + 3 ="}]},
        "preferred_output": [{"role": "assistant", "content": "5"}],
        "non_preferred_output": [{"role": "assistant", "content": "23"}],
    }

    def recognize(self, fields: Fields) -> str | None:
        """Ask for the three columns."""
        if _input(fields) is None or any(not is_turns(fields.get(name)) for name in _ANSWERS):
            return None
        return "columns 'input', 'preferred_output' and 'non_preferred_output' of turns"

    def lacks(self, fields: Fields) -> str | None:
        """One answer, or the prompt, without the others."""
        present = [name for name in _ANSWERS if name in fields]
        missing = [name for name in _ANSWERS if name not in fields]
        if not present:
            return None
        if missing:
            return repr(missing[0])
        return "'messages' in the column 'input'" if _input(fields) is None else None

    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield one row."""
        asked = _input(fields)
        if asked is None:
            raise DataError("no-prompt", "the row has no 'input' with 'messages'")
        chosen, rejected = (read_turns(fields.get(name)) for name in _ANSWERS)
        yield Row(
            "preference", where, messages=read_turns(asked["messages"]), chosen=chosen,
            rejected=rejected, tools=read_tools(asked.get("tools")),
        )  # fmt: skip


def _input(fields: Fields) -> dict[str, Any] | None:  # Any: JSON values
    found = fields.get("input")
    return found if isinstance(found, dict) and is_turns(found.get("messages")) else None
