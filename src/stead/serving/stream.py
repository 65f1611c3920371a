"""Chunks out: headers wait for the first one, an error after it becomes an event, leaving cancels.

Knows nothing about where chunks come from or which protocol is written.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from stead.core.errors import BackendError, SteadError
from stead.inference.backend import close_stream
from stead.messages import Chunk, Deviation
from stead.serving import report
from stead.wire.dialect import StreamWriter
from stead.wire.framing import Frames

if TYPE_CHECKING:
    from stead.serving.exchange import Exchange

ASGIMessage = MutableMapping[str, Any]  # Any: the shape of ASGI's own messages
Send = Callable[[ASGIMessage], Awaitable[None]]
Receive = Callable[[], Awaitable[ASGIMessage]]
_WATCH_AFTER_S = 0.05


class Departure:
    """Cancels the running task when the client leaves, on every route.

    `async with Departure(receive) as departure:` inside, the task is cancelled once ASGI says
    `http.disconnect`; that cancellation ends at the block's end, and `left` tells of it. Watching begins
    after `_WATCH_AFTER_S`: most answers are there before, and a task for each would cost more than they.
    """

    __slots__ = ("_receive", "_task", "_timer", "_watcher", "left")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self.left = False

    async def __aenter__(self) -> "Departure":
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - a coroutine always runs in a task
            raise RuntimeError("no running task")
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._begin)
        return self

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._task.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self.left and kind is not None and issubclass(kind, asyncio.CancelledError):
            self._task.uncancel()
            return True
        return False


class Relay:
    """Sends one stream.

    Before the first chunk errors are raised with nothing sent, so that the status can tell them. After
    `first_event_s` without a chunk the headers go out, and the framing's idle bytes as often, to keep the
    connection open; a framing without them sends nothing. Once `begun`, an error is told by `fail`: the protocol's own event, and no end marker.
    """

    def __init__(
        self,
        chunks: AsyncIterator[Chunk],
        writer: StreamWriter,
        exchange: "Exchange",
        form: Frames,
        *,
        choices: int,
    ) -> None:
        self._chunks = chunks
        self._writer = writer
        self._exchange = exchange
        self._send = exchange.send
        self._form = form
        self._choices = choices
        self._deviations: tuple[Deviation, ...] = ()
        self._model = ""
        self.begun = False

    async def run(self, first_event_s: float) -> None:
        """Send everything. Raises: what the stream raises; BackendError("stream-cut")."""
        try:
            chunk = await self._first(first_event_s)
            self._exchange.first_s = time.monotonic() - self._exchange.begun
            await self._begin(chunk)
            await self._copy(chunk)
        finally:
            await close_stream(self._chunks)

    async def fail(self, error: SteadError) -> None:
        """End a begun stream with an error event."""
        await self._body(self._reported(self._writer.error(error)), more=False)

    async def _first(self, first_event_s: float) -> Chunk | None:
        first = asyncio.ensure_future(_next(self._chunks))
        try:
            while not (await asyncio.wait({first}, timeout=first_event_s))[0]:
                if self._form.idle:
                    await self._begin()
                    await self._body(self._form.idle)
            return first.result()
        finally:
            if not first.done():
                first.cancel()
                await asyncio.wait({first})
            if not first.cancelled():
                first.exception()  # who has left is not told; unasked, asyncio would log it

    async def _copy(self, chunk: Chunk | None) -> None:
        finished: set[int] = set()
        while chunk is not None:
            if chunk.finish_reason is not None:
                if chunk.index in finished:
                    raise BackendError("bad-answer", f"choice {chunk.index} ended twice")
                finished.add(chunk.index)
            if chunk.usage is not None:
                self._exchange.usage = chunk.usage
            if chunk.deviations:
                self._deviations += chunk.deviations
            if data := self._writer.chunk(chunk):
                await self._body(data)
            chunk = await _next(self._chunks)
        if len(finished) < self._choices:
            raise BackendError(
                "stream-cut", f"{len(finished)} of {self._choices} choices came to their end"
            )
        await self._body(self._reported(self._writer.end()), more=False)

    def _reported(self, last: bytes) -> bytes:
        """Return the last bytes with what was done differently and what it cost, where there is something."""
        call = self._exchange.call
        found = report.all_deviations(call, self._deviations)
        if not found and report.cost_of(call) is None:
            return last
        return self._form.told(last, json.dumps(report.fields(call, self._model, found)).encode())

    async def _begin(self, first: Chunk | None = None) -> None:
        if self.begun:
            return
        self.begun = True
        self._exchange.status = 200
        headers = self._exchange.headers((b"content-type", self._form.media_type))
        if first is not None:
            self._model = first.model
            found = report.all_deviations(self._exchange.call, first.deviations)
            headers += report.headers(None, first.model, found)
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _body(self, data: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


async def _next(chunks: AsyncIterator[Chunk]) -> Chunk | None:
    return await anext(chunks, None)
