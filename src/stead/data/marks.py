"""Puts single private-use characters around contents and finds them again in the rendering.

Knows nothing about which text is trained. A finding counts only when the rendering without the marks
is the true rendering, to the character: a template that looks at a content and acts on the mark is
noticed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stead.core.errors import DataError

Chat = list[dict[str, Any]]  # Any: the plain data templates see
Run = Callable[[Chat, bool, tuple[str, str] | None], str]
BLOCK = ("\ufdd0", "\ufdd1")  # noncharacters: never valid in interchanged text (Unicode 23.7)
_BASE = 0xF0000  # plane 15 is private use: one character per place, untouched by trim and case
MARK = re.compile("[\U000f0000-\U000ffffd]")
_TAG = re.compile(r"(?:</[^<>\s]+>|\[/[A-Z]+\])\s*")  # ends of reasoning that templates cut at


@dataclass(frozen=True, slots=True)
class Renderer:
    """A template as a function `(chat, generation prompt?, block marks) -> text`, with its facts.

    Equal keys mean equal functions: facts about the template are remembered by key. `blocks_apart`:
    nothing in the template can see or change the block marks, and nothing but the chat can hold any.
    """

    run: Run = field(compare=False)
    key: object
    has_blocks: bool = field(default=False, compare=False)
    specials: frozenset[str] = field(default=frozenset(), compare=False)
    blocks_apart: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to place marks: where an answer's start mark goes, and whether others get marks."""

    start: str | None  # "head", "after-tag" or None
    others: bool


WAYS = (
    Way("head", others=True),
    Way(None, others=True),
    Way("head", others=False),
    Way(None, others=False),
    Way("after-tag", others=True),
    Way("after-tag", others=False),
)


def _start_mark(i: int) -> str:
    return chr(_BASE + 2 * i)


def _end_mark(i: int) -> str:
    return chr(_BASE + 2 * i + 1)


def _mark_chat(chat: Chat, way: Way) -> Chat:
    marked = []
    for i, message in enumerate(chat):
        if message["role"] == "assistant":
            marked.append(_mark_answer(message, i, way))
        elif way.others and isinstance(message.get("content"), str):
            head, core, rest = split_space(message["content"])
            marked.append(message | {"content": f"{head}{core}{_end_mark(i)}{rest}"})
        else:
            marked.append(message)
    return marked


def _mark_answer(message: dict[str, Any], i: int, way: Way) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, str) and content.strip():
        head, core, rest = split_space(content)
        at = start_place(core, way)
        if at is not None:
            core = core[:at] + _start_mark(i) + core[at:]
        return message | {"content": f"{head}{core}{_end_mark(i)}{rest}"}
    calls = message.get("tool_calls")
    if calls:
        function = calls[0]["function"]
        named = function | {"name": _end_mark(i) + function["name"]}
        return message | {"tool_calls": [calls[0] | {"function": named}, *calls[1:]]}
    return message | {"content": _end_mark(i)} if isinstance(content, str) else message


def start_place(core: str, way: Way) -> int | None:
    """Return where in an answer's core its start mark goes, or None for no mark."""
    if way.start == "after-tag":
        ends = [found.end() for found in _TAG.finditer(core) if found.end() < len(core)]
        return ends[-1] if ends else 0
    return 0 if way.start == "head" else None


def split_space(content: str) -> tuple[str, str, str]:
    """Cut into leading space, core, trailing space: marks go inside, so trimming stays the same."""
    core = content.strip()
    at = content.find(core)
    return content[:at], core, content[at + len(core) :]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the marks came out, in characters of the unmarked text."""

    by_mark: dict[str, int]

    def start(self, i: int) -> int | None:
        """Return where the start mark of message `i` came out."""
        return self.by_mark.get(_start_mark(i))

    def end(self, i: int) -> int | None:
        """Return where the end mark of message `i` came out."""
        return self.by_mark.get(_end_mark(i))

    def before(self, i: int, limit: int) -> int:
        """Return the end of the last other content that stands before `limit`, or 0."""
        own = (_start_mark(i), _end_mark(i))
        ends = [p for mark, p in self.by_mark.items() if mark not in own and p <= limit]
        return max(ends, default=0)


def find_places(renderer: Renderer, chat: Chat, text: str, way: Way) -> Places | None:
    """Render with marks; None unless the text without them is unchanged and no mark is doubled."""
    try:
        marked = renderer.run(_mark_chat(chat, way), False, None)
    except DataError:
        return None  # the template looked at a content and did not like the mark
    found: dict[str, int] = {}
    pieces = MARK.split(marked)
    if "".join(pieces) != text:
        return None
    position = 0
    for piece, mark in zip(pieces, MARK.findall(marked), strict=False):
        position += len(piece)
        if mark in found:
            return None
        found[mark] = position
    return Places(found)


def try_run(renderer: Renderer, chat: Chat, *, generate: bool = False) -> str:
    """Render a part of a chat; "" when the template refuses it."""
    try:
        return renderer.run(chat, generate, None)
    except DataError:
        return ""
