"""One client connection that speaks HTTP/1.1: send a request, take its answer as it comes.

Knows nothing about pools, deadlines' meaning or who is called. Parsing is llhttp's, through httptools;
the bounds on what a server may send are ours. Source: RFC 9112.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, cast

import httptools

HEAD_LIMIT_BYTES = 64 * 1024  # status line and headers of one answer
_UNSENT_S = 0.002  # between looks at what is unsent of a long body
_BUFFER_BYTES = 256 * 1024  # above it reading from the socket pauses
_INFORMATIONAL = 16  # 1xx answers before the real one


class Lost(ConnectionError):  # noqa: N818 - a state, by its usual name
    """The connection ended, or sent something else than HTTP, before the answer was whole."""


class Connection(asyncio.Protocol):
    """A connection with at most one request at work; use it from its own loop only.

    After `send`: `await news(...)` until `status` is set, then until `complete`, taking bytes with `take`.
    `status`, `headers` (lower-case names) and `complete` belong to the latest answer.
    """

    __slots__ = (
        "_buffered", "_head_bytes", "_informational", "_loop", "_named", "_parser", "_parts", "_paused", "_until_eof",
        "_waiter", "_without_body", "complete", "error", "headers", "idle_since", "reusable", "status", "transport",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser: Any = None  # Any: httptools has no types
        self._parts: deque[bytes] = deque()
        self._waiter: asyncio.Future[bool] | None = None
        self._paused = False
        self.transport: asyncio.Transport | None = None
        self.error: Exception | None = None
        self.reusable = False
        self.idle_since = 0.0
        self._reset(without_body=False)

    def _reset(self, *, without_body: bool) -> None:
        self._buffered = 0
        self._head_bytes = 0
        self._named = 0
        self._informational = 0
        self._until_eof = True
        self._without_body = without_body
        self.complete = False
        self.status = 0
        self.headers: dict[str, str] = {}

    def send(self, data: bytes, *, without_body: bool) -> None:
        """Write a whole request; `without_body` for HEAD, whose answer ends with its headers."""
        self._reset(without_body=without_body)
        self.reusable = False
        self._parser = httptools.HttpResponseParser(self)
        if self.transport is not None:
            self.transport.write(data)

    async def send_rest(self, parts: AsyncIterator[bytes]) -> None:
        """Write a long body, waiting while much of it is unsent; an early answer ends the writing."""
        async for part in parts:
            if self.transport is None or self.status:
                return
            self.transport.write(part)
            while self.alive and self.transport.get_write_buffer_size() > _BUFFER_BYTES:  # noqa: ASYNC110
                await asyncio.sleep(_UNSENT_S)

    async def news(self, limit_s: float | None) -> bool:
        """Wait until something came or the connection ended; False when `limit_s` passed first."""
        waiter = self._waiter = self._loop.create_future()
        timer = None if limit_s is None else self._loop.call_later(limit_s, _late, waiter)
        try:
            return bool(await waiter)
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def take(self) -> bytes:
        """Return the body's bytes that are here, maybe none."""
        parts = self._parts
        if not parts:
            return b""
        data = parts.popleft() if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._buffered = 0
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        return data

    @property
    def waiting(self) -> bool:
        """Whether body bytes are here."""
        return bool(self._parts)

    @property
    def alive(self) -> bool:
        """Whether a request can still be sent."""
        return self.error is None and self.transport is not None and not self.transport.is_closing()

    def close(self) -> None:
        """End the connection at once; what is in flight is given up."""
        self._refuse("closed here")

    def _refuse(self, why: str) -> None:
        if self.transport is not None:
            self.transport.abort()
        self._fail(Lost(why))

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse; bytes that nobody asked for end the connection."""
        if self._parser is None:
            self.close()
            return
        if not self.status:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES + _BUFFER_BYTES:  # one read may bring much body
                self._refuse("the headers have no end")
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(f"no valid HTTP: {_reason(error)}")
        else:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that nothing more comes; an answer without a length ends here."""
        if exc is None and self.status and self._until_eof and not self.complete:
            self.complete = True
        self._fail(Lost("the connection was closed" if exc is None else str(exc)))
        self.transport = None

    # --- the parser's side

    def on_message_begin(self) -> None:
        """Refuse bytes after the answer's end; the answer itself stays good. Raises: ValueError."""
        if self.complete:
            raise ValueError("bytes after the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header. Raises: ValueError above the limit."""
        self._named += len(name) + len(value) + 4
        if self._named > HEAD_LIMIT_BYTES:
            raise ValueError(f"more than {HEAD_LIMIT_BYTES} bytes of headers")
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        if key in self.headers:
            text = f"{self.headers[key]}, {text}"
        self.headers[key] = text

    def on_headers_complete(self) -> None:
        """Take the status; pass over 1xx answers. Raises: ValueError for too many of them."""
        status = self._parser.get_status_code()
        if status < 200:
            self._informational += 1
            if self._informational > _INFORMATIONAL or status == 101:
                raise ValueError(f"an unasked answer {status}")
            self.headers = {}
            return
        found = self.headers
        self._until_eof = "content-length" not in found and "chunked" not in found.get(
            "transfer-encoding", ""
        )
        self.status = status
        if self._without_body:
            self.complete = True

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body; a reader that does not follow pauses the socket."""
        self._parts.append(data)
        self._buffered += len(data)
        if self._buffered > _BUFFER_BYTES and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        """Mark the end of the answer."""
        if self.status and not self._without_body:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()

    def rest(self) -> bool:
        """Get ready for the next request; False when the connection cannot take one."""
        usable = self.complete and self.reusable and self.alive
        self._parser = None
        return usable and not self._parts

    def _fail(self, error: Exception) -> None:
        if self.error is None:
            self.error = error
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(True)


def _late(waiter: "asyncio.Future[bool]") -> None:
    if not waiter.done():
        waiter.set_result(False)


def _reason(error: BaseException) -> str:
    """Return what a callback raised, else the parser's own words."""
    inner = error.__context__
    return str(inner if isinstance(inner, ValueError) else error)
