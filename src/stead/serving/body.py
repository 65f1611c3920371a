"""A request's body: whole or piece by piece, bounded in size and in time.

Knows nothing about what the bytes mean.
"""

import asyncio
from collections.abc import AsyncIterator

from stead.core.within import Within
from stead.serving import guard
from stead.serving.settings import Settings
from stead.serving.stream import ASGIMessage, Receive

FORM_BYTES = 64 * 1024  # of a form beside its file


async def read(receive: Receive, settings: Settings) -> bytes:
    """Return the whole body. Raises: RequestRefused 413 or 408; ConnectionError when it ends."""
    try:
        with Within(settings.body_wait_s):
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                body: bytes = message.get("body", b"")
                if len(body) > settings.body_limit_bytes:
                    raise guard.too_large(settings.body_limit_bytes)
                return body
            return await _joined(message, receive, settings.body_limit_bytes)
    except TimeoutError as error:
        raise too_slow() from error


async def _joined(message: ASGIMessage, receive: Receive, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise guard.too_large(limit_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()
    raise ConnectionError("the client left")


async def pieces(receive: Receive, *, limit_bytes: int, wait_s: float) -> AsyncIterator[bytes]:
    """Yield the body as it comes; `wait_s` bounds the wait for each piece.

    Raises: RequestRefused 413 or 408; ConnectionError when the client leaves.
    """
    size = 0
    more = True
    while more:
        try:
            async with asyncio.timeout(wait_s):
                message = await receive()
        except TimeoutError as error:
            raise too_slow() from error
        if message["type"] != "http.request":
            raise ConnectionError("the client left")
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise guard.too_large(limit_bytes)
        more = message.get("more_body", False)
        yield part


def too_slow() -> Exception:
    """Return the refusal of a body that does not come."""
    return guard.refused(408, "body-timeout", "the body took too long")
