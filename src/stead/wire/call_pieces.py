"""Tool calls put together from the pieces of a stream, for protocols that send them whole.

Knows nothing about protocols.
"""

from collections.abc import Iterable

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
