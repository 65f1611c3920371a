r"""Preference pairs: `chosen` and `rejected` answers to one prompt.

Knows nothing about files. The answers are text, turns, or whole conversations; the prompt is a column,
`conversations`, or what both conversations have in common. Raw `\n\nHuman: … \n\nAssistant: …`
transcripts (Anthropic's hh-rlhf) are cut into turns; none is lost.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

from stead.core.errors import DataError
from stead.data.format import Fields, Format, first_key
from stead.data.row import Row
from stead.data.turns import as_messages, is_turns, read_tools, with_system
from stead.messages import Message, Role

_PROMPTS = ("prompt", "question", "instruction", "conversations", "messages", "input", "query")
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


class Preference(Format):
    """Both answers follow the same prompt turns."""

    kind = "preference"
    rank = 10
    example = {"prompt": "2 + 3 =", "chosen": "5", "rejected": "23"}  # noqa: RUF012

    def recognize(self, fields: Fields) -> str | None:
        """Ask for `chosen` and `rejected`."""
        if fields.get("chosen") is None or fields.get("rejected") is None:
            return None
        prompt = _prompt_key(fields)
        if prompt is None and _is_transcript(fields["chosen"]):
            return "columns 'chosen' and 'rejected' that hold Human/Assistant transcripts"
        return "columns 'chosen' and 'rejected'" + (f" with {prompt!r}" if prompt else "")

    def lacks(self, fields: Fields) -> str | None:
        """One answer without the other."""
        found = [name for name in ("chosen", "rejected") if fields.get(name) is not None]
        if len(found) != 1:
            return None
        return "'rejected'" if found == ["chosen"] else "'chosen'"

    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield one row."""
        key = _prompt_key(fields)
        prompt = () if key is None else as_messages(fields[key], "user")
        chosen, rejected = _answer(fields.get("chosen")), _answer(fields.get("rejected"))
        if not prompt or chosen[: len(prompt)] == rejected[: len(prompt)] == prompt:
            prompt, chosen, rejected = _common(chosen, rejected)
        yield Row(
            "preference", where, messages=with_system(fields, prompt), chosen=chosen, rejected=rejected,
            margin=_number(fields.get("margin")), tools=read_tools(fields.get("tools")),
        )  # fmt: skip


def _prompt_key(fields: Fields) -> str | None:
    key = first_key(fields, _PROMPTS)
    return (
        key if key is not None and (isinstance(fields[key], str) or is_turns(fields[key])) else None
    )


def _is_transcript(value: Any) -> bool:  # Any: a JSON value
    return isinstance(value, str) and _SPEAKER.match(value) is not None


def _answer(value: Any) -> tuple[Message, ...]:  # Any: text, transcript, turn or turns
    return _transcript(value) if _is_transcript(value) else as_messages(value, "assistant")


def _transcript(text: str) -> tuple[Message, ...]:
    """Cut a transcript at its speakers; the one space after the colon belongs to the mark."""
    pieces = _SPEAKER.split(text)
    roles: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
    turns = zip(pieces[1::2], pieces[2::2], strict=True)
    return tuple(Message(roles[who], said.removeprefix(" ")) for who, said in turns)


def _common(
    chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    """Split two conversations into the turns they share and what follows.

    What follows must begin with an answer, so shared turns are given back until it does.
    """
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    while same and not (_answers(chosen, same) and _answers(rejected, same)):
        same -= 1
    if same == 0:
        raise DataError(
            "no-prompt", "chosen and rejected share no prompt, and there is no prompt column"
        )
    return chosen[:same], chosen[same:], rejected[same:]


def _answers(turns: tuple[Message, ...], at: int) -> bool:
    return at < len(turns) and turns[at].role == "assistant"


def _number(value: Any) -> float | None:  # Any: a JSON value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and not math.isnan(value) else None
