"""Chunks out: headers wait for the first one, an error after it becomes an event, leaving cancels.

Knows nothing about where chunks come from or which protocol is written.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from stead.core.errors import BackendError, SteadError
from stead.inference.backend import close_stream
from stead.messages import Chunk
from stead.wire.dialect import StreamWriter

ASGIMessage = MutableMapping[str, Any]  # Any: the shape of ASGI's own messages
Send = Callable[[ASGIMessage], Awaitable[None]]
Receive = Callable[[], Awaitable[ASGIMessage]]


class Departure:
    """Cancels the running task when the client leaves, on every route.

    `async with Departure(receive) as departure:` inside, the task is cancelled as soon as ASGI says
    `http.disconnect`; that cancellation ends at the block's end, and `left` tells of it.
    """

    __slots__ = ("_receive", "_task", "_watcher", "left")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.left = False

    async def __aenter__(self) -> "Departure":
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - a coroutine always runs in a task
            raise RuntimeError("no running task")
        self._task = task
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._task.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._watcher.cancel()
        if self.left and kind is not None and issubclass(kind, asyncio.CancelledError):
            self._task.uncancel()
            return True
        return False


class Relay:
    """Sends one stream.

    Before the first chunk errors are raised with nothing sent, so that the status can tell them. After
    `first_event_s` without a chunk the headers go out, and `idle` as often, to keep the connection
    open; where the framing has no such bytes, nothing is sent. Once `begun`, an error is told by `fail`: the protocol's own event, and no end marker.
    """

    def __init__(
        self,
        chunks: AsyncIterator[Chunk],
        writer: StreamWriter,
        send: Send,
        headers: list[tuple[bytes, bytes]],
        *,
        choices: int,
        idle: bytes,
    ) -> None:
        self._chunks = chunks
        self._writer = writer
        self._send = send
        self._headers = headers
        self._choices = choices
        self._idle = idle
        self.begun = False

    async def run(self, first_event_s: float) -> None:
        """Send everything. Raises: what the stream raises; BackendError("stream-cut")."""
        try:
            chunk = await self._first(first_event_s)
            await self._begin()
            await self._copy(chunk)
        finally:
            await close_stream(self._chunks)

    async def fail(self, error: SteadError) -> None:
        """End a begun stream with an error event."""
        await self._body(self._writer.error(error), more=False)

    async def _first(self, first_event_s: float) -> Chunk | None:
        first = asyncio.ensure_future(_next(self._chunks))
        try:
            while not (await asyncio.wait({first}, timeout=first_event_s))[0]:
                if self._idle:
                    await self._begin()
                    await self._body(self._idle)
            return first.result()
        finally:
            if not first.done():
                first.cancel()
                await asyncio.wait({first})

    async def _copy(self, chunk: Chunk | None) -> None:
        finished: set[int] = set()
        while chunk is not None:
            if chunk.finish_reason is not None:
                if chunk.index in finished:
                    raise BackendError("bad-answer", f"choice {chunk.index} ended twice")
                finished.add(chunk.index)
            if data := self._writer.chunk(chunk):
                await self._body(data)
            chunk = await _next(self._chunks)
        if len(finished) < self._choices:
            raise BackendError(
                "stream-cut", f"{len(finished)} of {self._choices} choices came to their end"
            )
        await self._body(self._writer.end(), more=False)

    async def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            await self._send(
                {"type": "http.response.start", "status": 200, "headers": self._headers}
            )

    async def _body(self, data: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


async def _next(chunks: AsyncIterator[Chunk]) -> Chunk | None:
    return await anext(chunks, None)
