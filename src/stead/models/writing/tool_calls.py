"""Function calls in what a model writes, found while it writes: text and pieces of calls come out.

Knows nothing about tokens or templates' insides: the format is guessed from marks in the template's
source. Sources: the published chat templates of Hermes and Qwen (`<tool_call>`), Llama 3.x (a bare
JSON object with `parameters`) and Mistral (`[TOOL_CALLS]`, a list, or since v11 `name[ARGS]{…}`).
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from stead.messages import ToolCall, ToolCallDelta

Event = str | ToolCallDelta
_HEAD = re.compile(
    r'[\s\[,;]*\{\s*"name"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)
_NAMED = re.compile(r"\s*([\w.-]+)(?:\[CALL_ID\]\w+)?\[ARGS\]\s*(?=\{)")


@dataclass(frozen=True, slots=True)
class Format:
    """How a family of models writes calls. `mark` "": a call begins where the answer does."""

    name: str
    mark: str
    close: str
    key: str  # of the arguments
    id_length: int = 24

    def new_id(self) -> str:
        """Return an id that the family's templates accept (Mistral's want nine characters)."""
        return uuid.uuid4().hex[:9] if self.id_length == 9 else "call_" + uuid.uuid4().hex[:24]


HERMES = Format("hermes", "<tool_call>", "</tool_call>", "arguments")
LLAMA = Format("llama", "", "", "parameters")
MISTRAL = Format("mistral", "[TOOL_CALLS]", "", "arguments", 9)


def detect(source: str) -> Format | None:
    """Return the format that a chat template's source speaks of; None: it knows no tools."""
    if "<tool_call>" in source:
        return HERMES
    if "[TOOL_CALLS]" in source:
        return MISTRAL
    if "tools" in source and '"parameters"' in source:
        return LLAMA
    return None


class ToolParser:
    """Text in, in any pieces; text and call pieces out, the same whatever the pieces were.

    What only looked like a call comes out as text. `calls` counts those begun.
    """

    def __init__(self, form: Format) -> None:
        self._form = form
        self._mode: Literal["text", "head", "arguments", "tail", "plain"] = "text"
        self._held = ""
        self._scan = _Scan()
        self.calls = 0

    def feed(self, text: str) -> list[Event]:
        """Take more text; return what is certain."""
        self._held += text
        found: list[Event] = []
        mode, size = None, -1
        while (self._mode, len(self._held)) != (mode, size):
            mode, size = self._mode, len(self._held)
            step = {
                "text": self._text, "plain": self._plain, "head": self._head,
                "arguments": self._arguments, "tail": self._tail,
            }[mode]  # fmt: skip
            found += step()
        return [event for event in found if event != ""]

    def finish(self) -> list[Event]:
        """Return what was held back at the end of the answer."""
        held, self._held = self._held, ""
        if self._mode == "head" and held.strip():
            return [self._form.mark + held]
        if self._mode in ("text", "plain") and not (self.calls and held.isspace()) and held:
            return [held]
        return []

    def _plain(self) -> list[Event]:
        text, self._held = self._held, ""
        return [text]

    def _text(self) -> list[Event]:
        mark = self._form.mark
        if not mark:
            start = self._held.lstrip()
            if start:
                self._mode = "head" if start[0] == "{" else "plain"
            return []
        at = self._held.find(mark)
        if at >= 0:
            text, self._held = self._held[:at].rstrip(), self._held[at + len(mark) :]
            self._mode = "head"
            return [text]
        keep = _overlap(self._held, mark)
        keep = len(self._held) - len(self._held[: len(self._held) - keep].rstrip())
        text, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return [text]

    def _head(self) -> list[Event]:
        named = _NAMED if self._form is MISTRAL else _HEAD
        match = _HEAD.match(self._held) or named.match(self._held)
        if match is not None:
            self._held = self._held[match.end() :]
            self._mode, self._scan = "arguments", _Scan()
            name = match.group(1)
            return [self._begin(_unquoted(name) if match.re is _HEAD else name)]
        start = self._held.find("{")
        end = _Scan().end(self._held[start:]) if start >= 0 else None
        closed = bool(self._form.close) and self._form.close in self._held
        if end is not None:
            return self._whole(self._held[start : start + end], start + end)
        if closed:
            return self._refuse()
        return []

    def _whole(self, text: str, end: int) -> list[Event]:
        """Take a call whose keys stand in another order, all at once."""
        call = _read(text)
        if call is None:
            return self._refuse()
        self._held = "}" + self._held[end:]  # the tail expects the object's end
        self._mode = "tail"
        begun = self._begin(call[0])
        return [begun, ToolCallDelta(self.calls - 1, arguments=call[1])]

    def _refuse(self) -> list[Event]:
        self._mode = "plain" if not self._form.mark else "text"
        text, self._held = self._form.mark + self._held, ""
        cut = len(text) if not self._form.close else text.find(self._form.close) + len(self._form.close)  # fmt: skip
        if self._form.close and self._form.close in text:
            text, self._held = text[:cut], text[cut:]
        return [text]

    def _begin(self, name: str) -> ToolCallDelta:
        self.calls += 1
        return ToolCallDelta(self.calls - 1, id=self._form.new_id(), name=name)

    def _arguments(self) -> list[Event]:
        end = self._scan.end(self._held)
        cut = len(self._held) if end is None else end
        text, self._held = self._held[:cut], self._held[cut:]
        if end is not None:
            self._mode = "tail"
        return [ToolCallDelta(self.calls - 1, arguments=text)] if text else []

    def _tail(self) -> list[Event]:
        """Find the next call, or the text behind this one."""
        close, mark = self._form.close, self._form.mark
        if close:
            at = self._held.find(close)
            if at >= 0:
                self._held, self._mode = self._held[at + len(close) :].lstrip(), "text"
            return []
        after = re.search(
            r"[,;]\s*(?=\{)" if not mark else r",\s*(?=\{)|\[TOOL_CALLS\]", self._held
        )
        if after is not None:
            self._held, self._mode = self._held[after.end() :], "head"
        return []


@dataclass(slots=True)
class _Scan:
    """Finds the end of a JSON object in text that comes in pieces."""

    depth: int = 0
    quoted: bool = False
    escaped: bool = False

    def end(self, text: str) -> int | None:
        """Return the place after the object's last brace, or None when it has not come."""
        for i, c in enumerate(text):
            if self.escaped:
                self.escaped = False
            elif self.quoted:
                self.escaped, self.quoted = c == "\\", c != '"'
            elif c == '"':
                self.quoted = True
            elif c in "{[":
                self.depth += 1
            elif c in "}]":
                self.depth -= 1
                if self.depth == 0:
                    return i + 1
        return None


def _read(text: str) -> tuple[str, str] | None:
    """Return the name and arguments of a whole call, or None when it is none."""
    try:
        value: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    return value["name"], arguments


def _unquoted(text: str) -> str:
    try:
        return str(msgspec.json.decode(f'"{text}"'))
    except msgspec.DecodeError:
        return text


def _overlap(text: str, mark: str) -> int:
    longest = min(len(text), len(mark) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(mark[:n])), 0)


def gather(events: Sequence[Event]) -> tuple[str, tuple[ToolCall, ...]]:
    """Put events together: the answer's text and its calls."""
    calls: dict[int, ToolCall] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            old = calls.get(event.index, ToolCall("", "", ""))
            calls[event.index] = ToolCall(
                old.id if event.id is None else event.id,
                old.name if event.name is None else event.name,
                old.arguments + event.arguments,
            )
    return "".join(e for e in events if isinstance(e, str)), tuple(calls.values())
