"""Events as they come: server-sent events and the socket `/api/live`, both from a number on.

Knows nothing about what is told. Whoever is slow asks later: what is read for a client is what fits its
connection, and nothing is queued for it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from stead.core.errors import UsageError

Json = dict[str, Any]  # Any: JSON values
Read = Callable[[int], tuple[list[tuple[int, Json]], bool]]
POLL_S = 0.25
_IDLE_S = 15.0  # between comments that keep the connection open
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class Closing:
    """Says that the server ends: streams stop by themselves."""

    def __init__(self) -> None:
        self.now = False


def last_id(request: Request) -> int:
    """Return the number after which events are wanted; -1: all. Raises: UsageError("bad-event-id")."""
    said = request.headers.get("last-event-id", "")
    text = said if said else request.query_params.get("after", "-1")
    if not (text.isascii() and text.removeprefix("-").isdecimal()) or len(text) > 18:
        raise UsageError("bad-event-id", f"{text[:40]!r} is no number of an event", param="after")
    return max(-1, int(text))


async def event_stream(request: Request, read: Read, after: int) -> StreamingResponse:
    """Return a stream of what `read` gives, as it comes. The first reading's errors are answers of their own."""
    first = await run_in_threadpool(read, after)
    closing: Closing = request.app.state.closing
    lines = _events(read, first, after, closing)
    return StreamingResponse(lines, media_type="text/event-stream", headers=_HEADERS)


async def _events(
    read: Read, first: tuple[list[tuple[int, Json]], bool], after: int, closing: Closing
) -> AsyncIterator[bytes]:
    found, goes_on = first
    idle_s = 0.0
    yield b": stead\n\n"
    while not closing.now:
        for number, body in found:
            after = number
            yield frame(number, body)
        if not goes_on and not found:
            yield b"event: end\ndata: {}\n\n"
            return
        if not found:
            await asyncio.sleep(POLL_S)
            idle_s += POLL_S
        if idle_s >= _IDLE_S:
            idle_s = 0.0
            yield b": idle\n\n"
        found, goes_on = await run_in_threadpool(read, after)


def frame(number: int, body: Json) -> bytes:
    """Return one event; JSON has no bare line ends, so the data is one line."""
    return f"id: {number}\ndata: {json.dumps(body, separators=(',', ':'))}\n\n".encode()
