"""Which rows can be used: problems named by place, duplicates by hash, everything counted.

Knows nothing about files, formats or tokens.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from stead.core.errors import DataError
from stead.data.row import Row
from stead.data.section import OnError
from stead.messages import Message

TEXT_LIMIT = 50_000_000  # characters of one row; more is a file by mistake, not an example
NO_FAULT = ("duplicate", "in-eval", "bad-answer")  # dropped, but nothing is wrong with the row
_NAMED = 20  # bad rows named in a report


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that was left out: where, why as a stable code, and why in words."""

    where: str
    code: str
    reason: str


@dataclass(slots=True)
class Tally:
    """Counts of what was read, kept and dropped; the first `named` dropped rows by name.

    With `on_error` "refuse" the first invalid row ends the reading; duplicates never do.
    """

    on_error: OnError = "skip"
    named: int | None = _NAMED
    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: list[Dropped] = field(default_factory=list)

    def drop(self, where: str, code: str, reason: str, *, invalid: bool = True) -> None:
        """Count a dropped row. Raises: DataError(code) with its place when rows may not be invalid."""
        if invalid and self.on_error == "refuse":
            raise DataError(code, f"{where}: {reason}", where=where)
        self.dropped[code] += 1
        if self.named is None or len(self.examples) < self.named:
            self.examples.append(Dropped(where, code, reason))

    @property
    def invalid(self) -> int:
        """How many rows were dropped for a fault of their own."""
        return sum(n for code, n in self.dropped.items() if code not in NO_FAULT)

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the named rows as JSON values."""
        return {
            "read": self.read,
            "kept": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
            "examples": [
                {"where": d.where, "code": d.code, "reason": d.reason} for d in self.examples
            ],
        }


def problem(row: Row) -> tuple[str, str] | None:
    """Return (code, reason) when a row cannot teach anything, else None."""
    check = {"text": _text_problem, "preference": _pair_problem, "prompts": _prompt_problem}.get(
        row.kind, _chat_problem
    )
    found = check(row)
    if found is not None:
        return found
    texts = [row.text] if row.text is not None else [m.text for m in _messages(row)]
    if sum(map(len, texts)) > TEXT_LIMIT:
        return "too-long", f"more than {TEXT_LIMIT} characters"
    if any(_has_surrogate(text) for text in texts):
        return "bad-text", "half of a surrogate pair, which is no character"
    return None


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)


def _messages(row: Row) -> tuple[Message, ...]:
    return (*row.messages, *row.chosen, *row.rejected)


def _text_problem(row: Row) -> tuple[str, str] | None:
    return None if row.text is not None and row.text.strip() else ("empty", "the text is empty")


def is_answer(message: Message) -> bool:
    """Say whether a turn is an answer with something in it."""
    return message.role == "assistant" and (bool(message.text.strip()) or bool(message.tool_calls))


def _chat_problem(row: Row) -> tuple[str, str] | None:
    if not any(m.text.strip() or m.tool_calls for m in row.messages):
        return "empty", "no turn has any text"
    answers = [m for m in row.messages if m.role == "assistant"]
    if not any(map(is_answer, answers)):
        return (
            "no-answer",
            "the assistant's answer is empty"
            if answers
            else "no assistant turn (data.format=prompts takes questions alone)",
        )
    if not all(m.text.strip() or m.tool_calls for m in answers):
        return "empty-turn", "one of the assistant's turns is empty"
    if not any(m.role in ("user", "tool") and m.content for m in row.messages):
        return "no-question", "no user turn has any text"
    return None


def _prompt_problem(row: Row) -> tuple[str, str] | None:
    if not any(m.role in ("user", "tool") and m.text.strip() for m in row.messages):
        return "no-question", "no user turn has any text"
    return None


def _pair_problem(row: Row) -> tuple[str, str] | None:
    if not any(m.text.strip() for m in row.messages):
        return "empty", "the prompt is empty"
    for name, turns in (("chosen", row.chosen), ("rejected", row.rejected)):
        if not turns or not is_answer(turns[-1]):
            return "no-answer", f"the {name} answer is empty"
    if row.chosen == row.rejected:
        return "same-answers", "chosen and rejected are equal"
    return None


def content_key(row: Row) -> bytes:
    """Return 16 bytes that are equal exactly for rows of equal content, wherever they stand."""
    parts = (row.kind, row.messages, row.text, row.chosen, row.rejected, row.label, row.tools)
    return blake2b(msgspec.msgpack.encode(parts), digest_size=16).digest()


def prompt_key(row: Row) -> bytes:
    """Return 16 bytes that are equal for rows that ask the same: the split keeps them together."""
    if row.kind == "text":
        return content_key(row)
    turns = row.messages
    if row.kind != "preference":
        answers = [i for i, m in enumerate(turns) if m.role == "assistant"]
        turns = turns[: answers[-1]] if answers else turns
    return blake2b(msgspec.msgpack.encode(turns), digest_size=16).digest()


def clean(rows: Iterable[Row], tally: Tally, *, dedupe: bool) -> Iterator[Row]:
    """Yield the rows that can be used, in order, each content once if `dedupe`."""
    seen: set[bytes] = set()
    for row in rows:
        found = problem(row)
        if found is not None:
            tally.drop(row.where, *found)
            continue
        if dedupe:
            key = content_key(row)
            if key in seen:
                tally.drop(row.where, "duplicate", "the same as an earlier row", invalid=False)
                continue
            seen.add(key)
        tally.kept += 1
        yield row
