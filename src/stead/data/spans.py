"""Finds exactly which characters of a rendered chat the model has to write itself.

Knows nothing about jinja or tokens: it renders through a callable. With `{% generation %}` blocks
the template says it; without, single private-use characters are put around the contents, and a place
counts only when the rendering minus those characters is the true rendering, to the character. What
stands between the generation prompt and the end of turn is trained; if that cannot be shown, the
answer is DataError("mask-not-exact"), never a guess.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from stead.core.errors import DataError
from stead.data.chat import chat_dicts
from stead.data.marks import (
    BLOCK,
    MARK,
    WAYS,
    Chat,
    Places,
    Renderer,
    Way,
    find_places,
    split_space,
    start_place,
    try_run,
)
from stead.messages import Message

Span = tuple[int, int]

_USER: dict[str, Any] = {"role": "user", "content": "u"}
_ANSWER: dict[str, Any] = {"role": "assistant", "content": "a"}


def locate(
    renderer: Renderer, messages: Sequence[Message], *, train: str, first: int
) -> tuple[str, tuple[Span, ...]]:
    """Return the rendered text and the trained spans, ascending and disjoint."""
    chat = chat_dicts(messages)
    text, blocks = _rendered(renderer, chat)
    turns = [i for i, m in enumerate(chat) if m["role"] == "assistant" and i >= first]
    if train == "last":
        turns = turns[-1:]
    if not turns:
        return text, ()
    found = _from_blocks(renderer, chat, text, turns, blocks) if renderer.has_blocks else None
    if found is None:
        found = _from_marks(renderer, chat, text, turns)
    return text, tuple(found)


# With {% generation %} blocks


def _rendered(renderer: Renderer, chat: Chat) -> tuple[str, list[Span] | None]:
    """Return the text, and its blocks where one rendering is enough to know both."""
    if not (renderer.blocks_apart and all(map(_is_plain, chat))):
        return renderer.run(chat, False, None), None
    pieces, places = _pieces(renderer.run(chat, False, BLOCK))
    return "".join(pieces[::2]), places


def _is_plain(message: dict[str, Any]) -> bool:
    """Say whether a turn is a role and a text without block marks."""
    if message.keys() != {"role", "content"}:
        return False
    content = message["content"]
    return isinstance(content, str) and BLOCK[0] not in content and BLOCK[1] not in content


def _from_blocks(
    renderer: Renderer, chat: Chat, text: str, turns: list[int], blocks: list[Span] | None
) -> list[Span] | None:
    if blocks is None:
        if any(mark in text for mark in BLOCK):
            return None
        blocks = _blocks(renderer, chat, text)
    if not blocks:
        return None
    chosen = _blocks_of(renderer, chat, blocks, turns)
    if chosen is None:
        return None
    return [_with_end(renderer, chat, text, span, is_last=span == blocks[-1]) for span in chosen]


def _blocks(renderer: Renderer, chat: Chat, text: str) -> list[Span] | None:
    """Return the blocks' places, or None when the template changed text because of the marks."""
    pieces, places = _pieces(renderer.run(chat, False, BLOCK))
    return places if "".join(pieces[::2]) == text else None


def _pieces(marked: str) -> tuple[list[str], list[Span] | None]:
    """Cut a marked text at its marks; return the pieces and the blocks' places in the bare text."""
    pieces = re.split("([\ufdd0\ufdd1])", marked)
    if pieces[1::2] != list(BLOCK) * (len(pieces) // 4):
        return pieces, None
    places = []
    position = 0
    for piece in pieces[::2]:
        position += len(piece)
        places.append(position)
    return pieces, [(a, b) for a, b in zip(places[:-1:2], places[1:-1:2], strict=True) if a < b]


def _blocks_of(
    renderer: Renderer, chat: Chat, blocks: list[Span], turns: list[int]
) -> list[Span] | None:
    answers = [i for i, m in enumerate(chat) if m["role"] == "assistant"]
    if turns == answers:
        return blocks
    if len(blocks) == len(answers):
        return [block for i, block in zip(answers, blocks, strict=True) if i in turns]
    before = chat[: turns[0]]  # the wanted turns are always the last ones of the chat
    earlier = _blocks(renderer, before, renderer.run(before, False, None))
    return None if earlier is None else blocks[len(earlier) :]


def _with_end(renderer: Renderer, chat: Chat, text: str, span: Span, *, is_last: bool) -> Span:
    """Add the end token where a template's block leaves it out: a model must learn to stop."""
    start, end = span
    if text[start:end].rstrip().endswith(tuple(renderer.specials)):
        return span
    tail = end_of_turn(renderer)
    if is_last and chat[-1]["role"] == "assistant":
        tail = _cut(text[end:], renderer.specials)
    return (start, end + len(tail)) if text.startswith(tail, end) else span


# Without blocks


def _from_marks(renderer: Renderer, chat: Chat, text: str, turns: list[int]) -> list[Span]:
    if len(chat) > 20_000 or MARK.search(text):
        raise _not_exact(turns[0], "the text holds private-use characters of plane 15")
    for way in WAYS:
        places = find_places(renderer, chat, text, way)
        if places is None:
            continue
        found = [_turn(renderer, chat, text, places, i, way) for i in turns]
        spans = [span for span in found if span is not None]
        ascending = all(a[1] <= b[0] for a, b in pairwise(spans))
        if len(spans) == len(found) and ascending:
            return spans
    raise _not_exact(turns[0], "the template changes or hides the answer")


def _not_exact(turn: int, why: str) -> DataError:
    return DataError(
        "mask-not-exact",
        f"the trained part of turn {turn + 1} cannot be located exactly: {why}",
        turn=turn,
    )


def _turn(
    renderer: Renderer, chat: Chat, text: str, places: Places, i: int, way: Way
) -> Span | None:
    anchor = places.end(i)
    if anchor is None:
        return None
    start = _start(renderer, chat, text, places, i, way)
    if start is None and not _header(renderer) and not chat[i].get("content"):
        start = _start_of_calls(renderer, chat, text, anchor, i)
    end = _end(renderer, chat, text, anchor, i)
    if start is None or end is None or start >= end:
        return None
    reasoning = str(chat[i].get("reasoning_content", "")).strip()
    if reasoning and reasoning in text[places.before(i, start) : start]:
        return None
    return start, end


def _start(
    renderer: Renderer, chat: Chat, text: str, places: Places, i: int, way: Way
) -> int | None:
    """Return where the model begins to write: after the generation prompt, else at the content."""
    own, anchor = places.start(i), places.end(i)
    if anchor is None:
        return None
    limit = anchor if own is None else own
    header = _header(renderer)
    at = text.find(header, places.before(i, limit), limit) if header else -1
    if at >= 0:
        return at + len(header)
    if own is None:
        return None
    before, head, rest = _cut_at_start(chat[i], way)
    if head and text.endswith(head, 0, own):
        bare = [*chat[:i], chat[i] | {"content": before + rest}, *chat[i + 1 :]]
        if try_run(renderer, bare) != text:  # else the template drops the space: it is its own
            own -= len(head)
    lead = _lead(renderer)
    return own - len(lead) if text.endswith(lead, 0, own) else own


def _cut_at_start(message: dict[str, Any], way: Way) -> tuple[str, str, str]:
    """Cut a content at its start mark: what is before, the space directly before, what follows."""
    content = message.get("content")
    if not isinstance(content, str):
        return "", "", ""
    head, core, tail = split_space(content)
    at = start_place(core, way)
    until = head + core[:at]
    before = until.rstrip()
    return before, until[len(before) :], "" if at is None else core[at:] + tail


def _end(renderer: Renderer, chat: Chat, text: str, anchor: int, i: int) -> int | None:
    """Return where the answer's own end token ends; without one, where the content ends."""
    calls = bool(chat[i].get("tool_calls"))
    if i == len(chat) - 1:
        return anchor + len(_tail(renderer, text[anchor:], calls=calls))
    usual = end_of_turn(renderer)
    kept = _kept_space(chat[i], text, anchor)
    if not calls and usual:
        for skip in (kept, 0):
            if text.startswith(usual, anchor + skip):
                return anchor + skip + len(usual)
    alone = _places_alone(renderer, chat[: i + 1], i)
    if alone is None:
        return None
    tail = _tail(renderer, alone, calls=calls)
    if text.startswith(tail, anchor):
        return anchor + len(tail)
    return None if calls else anchor + kept  # the template ends only the chat, not each turn


def _kept_space(message: dict[str, Any], text: str, anchor: int) -> int:
    content = message.get("content")
    rest = split_space(content)[2] if isinstance(content, str) else ""
    return len(rest) if text.startswith(rest, anchor) else 0


def _places_alone(renderer: Renderer, chat: Chat, i: int) -> str | None:
    """Return what follows turn `i` when the chat ends there."""
    text = try_run(renderer, chat)
    for way in WAYS[:4]:
        places = find_places(renderer, chat, text, way) if text else None
        anchor = None if places is None else places.end(i)
        if anchor is not None:
            return text[anchor:]
    return None


def _tail(renderer: Renderer, tail: str, *, calls: bool) -> str:
    if not calls:
        return _cut(tail, renderer.specials)
    usual = end_of_turn(renderer).strip()
    at = tail.rfind(usual) if usual else -1
    return tail[: at + len(usual)] if at >= 0 else tail.rstrip()


def _cut(tail: str, specials: frozenset[str]) -> str:
    """Cut what follows an answer after its first special token; trailing space is no one's."""
    found = [(at, -len(s)) for s in specials if (at := tail.find(s)) >= 0]
    if not found:
        return tail.rstrip()
    at, length = min(found)
    return tail[: at - length]


@lru_cache(maxsize=64)
def _header(renderer: Renderer) -> str:
    """Return what the template adds for the model to go on from; "" when it adds nothing."""
    plain = try_run(renderer, [_USER])
    asked = try_run(renderer, [_USER], generate=True)
    if not plain or not asked:
        return ""
    same = 0
    while same < min(len(plain), len(asked)) and plain[same] == asked[same]:
        same += 1
    return asked[same:]


@lru_cache(maxsize=64)
def _opening(renderer: Renderer) -> str | None:
    """Return what a template puts between a question and the answer's content; None: unknown."""
    asked, answered = try_run(renderer, [_USER]), try_run(renderer, [_USER, _ANSWER])
    places = find_places(renderer, [_USER, _ANSWER], answered, WAYS[0])
    start = None if places is None else places.start(1)
    if start is None or not asked or not answered.startswith(asked):
        return None
    return answered[len(asked) : start]


def _lead(renderer: Renderer) -> str:
    """Return the space a template without generation prompt puts before an answer, e.g. " " (Llama 2)."""
    opening = None if _header(renderer) else _opening(renderer)
    return opening if opening is not None and opening.isspace() else ""


def _start_of_calls(renderer: Renderer, chat: Chat, text: str, anchor: int, i: int) -> int | None:
    """Return where a turn of calls alone begins, for a template without generation prompt.

    What the template adds for the turn, rendered without the later ones, must stand in the text.
    """
    before, alone = try_run(renderer, chat[:i]), try_run(renderer, chat[: i + 1])
    opening, places = _opening(renderer), find_places(renderer, chat[: i + 1], alone, WAYS[2])
    inside = None if places is None else places.end(i)
    if opening is None or inside is None or not before or not alone.startswith(before):
        return None
    added = alone[len(before) : inside]
    start = anchor - len(added)
    if text[start:anchor] != added:
        return None
    if not opening.strip():
        return start
    return start + len(opening) if added.startswith(opening) else None


@lru_cache(maxsize=64)
def end_of_turn(renderer: Renderer) -> str:
    """Return the text that ends a plain answer, e.g. `<|im_end|>` or ` </s>`; "" for none."""
    tail = _places_alone(renderer, [_USER, _ANSWER], 1)
    return "" if tail is None else _cut(tail, renderer.specials)
