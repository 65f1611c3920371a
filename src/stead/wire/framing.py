"""How streamed answers are cut into events: one row per framing, for the client and the server.

Knows nothing about protocols; a dialect names its framing.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from stead.wire import ndjson, sse
from stead.wire.dialect import Framing


class Parser(Protocol):
    """Turns pieces of bytes, split anywhere, into events."""

    def feed(self, piece: bytes) -> list[sse.Event]:
        """Take the next bytes. Raises: BackendError("event-too-large")."""
        ...


class Frames(NamedTuple):
    """What a framing needs: its media type, what may be sent to keep a connection open, its parser.

    `idle` is empty where the framing has nothing that means nothing. `told` puts a JSON object that no
    protocol knows, `stead`, to a stream's last event.
    """

    media_type: bytes
    idle: bytes
    parser: Callable[[], Parser]
    told: Callable[[bytes, bytes], bytes]


def _comment(last: bytes, told: bytes) -> bytes:
    return sse.comment("stead " + told.decode()) + last


def _member(last: bytes, told: bytes) -> bytes:
    return ndjson.with_member(last, "stead", told)


_FRAMES: dict[Framing, Frames] = {
    "sse": Frames(
        b"text/event-stream; charset=utf-8", sse.comment("waiting"), sse.Parser, _comment
    ),
    "ndjson": Frames(b"application/x-ndjson", b"", ndjson.Parser, _member),
}


def frames(framing: Framing) -> Frames:
    """Return what a framing needs."""
    return _FRAMES[framing]
