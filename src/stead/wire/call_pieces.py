"""Tool calls for protocols that send them whole: put together from pieces, arguments as an object.

Knows nothing about protocols.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from stead.core.errors import BackendError
from stead.messages import ToolCall, ToolCallDelta


class CallPieces:
    """Holds the calls of one answer until they are taken."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCall] = {}

    def add(self, deltas: Iterable[ToolCallDelta]) -> None:
        """Join pieces to the calls they belong to."""
        for delta in deltas:
            known = self._calls.get(delta.index, ToolCall("", "", ""))
            self._calls[delta.index] = ToolCall(
                known.id if delta.id is None else delta.id,
                known.name if delta.name is None else known.name + delta.name,
                known.arguments + delta.arguments,
            )

    def take(self) -> list[ToolCall]:
        """Return the calls in the order of their index, and forget them."""
        found = [call for _, call in sorted(self._calls.items())]
        self._calls = {}
        return found


def deltas_of(calls: Iterable[ToolCall], before: int) -> tuple[ToolCallDelta, ...]:
    """Return whole calls as pieces; `before` is how many came before."""
    return tuple(ToolCallDelta(before + i, c.id, c.name, c.arguments) for i, c in enumerate(calls))


def arguments_of(call: ToolCall) -> Raw:
    """Return a call's arguments as JSON on one line; none at all are an empty object.

    Raises: BackendError("bad-arguments") when they are something else than an object.
    """
    text = call.arguments.strip()
    if not text:
        return Raw(b"{}")
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise BackendError(
            "bad-arguments",
            f"the arguments of {call.name!r} are no JSON object: {call.arguments[:200]!r}",
        ) from error
    if "\n" in text or "\r" in text:
        text = msgspec.json.format(text, indent=-1)
    return Raw(text.encode())
