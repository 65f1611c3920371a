"""A connection's own patience: headers must come in time and must not be endless.

Knows nothing about requests or apps. It adds to any of the ASGI server's HTTP protocol classes.
"""

import asyncio
from typing import Any

HEADER_S = 15.0  # from a request's first byte to the end of its headers
HEADER_BYTES = 64 * 1024
_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Patience(asyncio.Protocol):
    """Counts and times what comes before the end of the headers; stands before the real protocol.

    A connection that has sent nothing yet has as long; between requests the server's own keep-alive
    time-out rules. Bodies are bounded by the app.
    """

    header_s = HEADER_S
    transport: asyncio.Transport
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_body = False

    def connection_made(self, transport: Any) -> None:  # Any: asyncio's base types differ
        """Begin to wait."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what is not body; a timer is needed only when the headers come in parts."""
        if not self._in_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes and not self._in_body:
            if self._head_bytes > HEADER_BYTES:
                self._end(_LARGE)
            elif self._timer is None:
                self._arm()

    def on_headers_complete(self) -> None:
        """Stop waiting: the rest is body."""
        self._disarm()
        self._in_body = True
        parent: Any = super()  # Any: the protocol class that this one is put before
        parent.on_headers_complete()

    def on_message_complete(self) -> None:
        """Begin anew with the next request."""
        self._in_body = False
        self._head_bytes = 0
        self._disarm()
        parent: Any = super()  # Any: as above
        parent.on_message_complete()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.header_s, self._end, _SLOW)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, answer: bytes) -> None:
        self._disarm()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


def patient(kind: type[Any], header_s: float = HEADER_S) -> type[Any]:  # Any: uvicorn is untyped
    """Return `kind`, closing connections whose headers are slow (408) or too large (431)."""
    return type("Patient", (Patience, kind), {"header_s": header_s})
