"""Which turn of its row each token stands in, for showing a row: as many turns as the row has.

Knows nothing about masks. A turn ends where the chat rendered up to it ends; a template that renders a turn in another
way when more follow is asked for the turn's own text. What a template adds before the first turn belongs to it.
"""

from bisect import bisect_right
from collections.abc import Sequence

from stead.core.errors import DataError
from stead.data.row import Row
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.messages import Message


def turns_of(
    row: Row, column: str, text: str, ids: Sequence[int], tokenizer: TextTokenizer, template: ChatTemplate,
) -> list[int]:  # fmt: skip
    """Return the 0-based turn of each token; `text` is what was encoded, `ids` may be cut at the end or begin with BOS."""
    messages = _messages(row, column)
    ends = _ends(messages, row, text, template)
    encoding = tokenizer.encode(text)
    extra = 1 if ids[:1] == [tokenizer.bos_id] and encoding.ids[:1] != [tokenizer.bos_id] else 0
    starts = [0] * extra + [start for start, _ in encoding.offsets]
    starts += [len(text)] * (len(ids) - len(starts))  # an end of document that was put behind it
    last = max(0, len(messages) - 1)
    return [min(last, bisect_right(ends, start)) for start in starts[: len(ids)]]


def _messages(row: Row, column: str) -> tuple[Message, ...]:
    if row.kind == "preference":
        return (*row.messages, *(row.chosen if column == "chosen" else row.rejected))
    return row.messages


def _ends(messages: Sequence[Message], row: Row, text: str, template: ChatTemplate) -> list[int]:
    """Return where each turn but the last ends in the text."""
    ends: list[int] = []
    for count in range(1, len(messages)):
        before = ends[-1] if ends else 0
        try:
            part = template.render(messages[:count], row.tools)
        except DataError:  # half a chat is none to this template
            part = ""
        ends.append(max(before, _end(part, messages[count - 1].text, text, before)))
    return ends


def _end(part: str, own: str, text: str, before: int) -> int:
    common = _common(part, text)
    if common == len(part) or not own or own not in part:
        return common
    place = text.find(own, before)
    if place < 0:
        return common
    end, tail = place + len(own), part[part.rindex(own) + len(own) :]
    return end + _common(tail, text[end:])


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
