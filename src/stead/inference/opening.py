"""The commit point of a stream: read up to the first content, and hold back what comes before it.

Knows nothing about who retries or falls back. Before the first content another endpoint may still answer;
after it nothing may be asked again (text, reasoning and parts of tool calls are content, a role is not).
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from stead.core.errors import BackendError
from stead.inference.backend import close_stream
from stead.messages import Chunk

_HELD_BACK = 1024  # chunks without content, far above what any protocol sends


@dataclass(slots=True)
class Opened:
    """A stream that has begun: what was read of it, up to its first content, and the rest."""

    head: list[Chunk]
    rest: AsyncIterator[Chunk]

    async def close(self) -> None:
        """Cancel the work upstream."""
        await close_stream(self.rest)


def is_content(chunk: Chunk) -> bool:
    """Say whether a chunk commits; the end of an answer does too, for an answer may be empty."""
    return bool(chunk.text or chunk.reasoning or chunk.tool_calls or chunk.finish_reason)


async def opened(stream: AsyncIterator[Chunk]) -> Opened:
    """Read until the first content.

    Raises: what the stream raises; BackendError("stream-cut") when it ends before any content, or
    BackendError("no-content") when it sends none for long. The stream is closed then.
    """
    head: list[Chunk] = []
    try:
        async for chunk in stream:
            head.append(chunk)
            if is_content(chunk):
                return Opened(head, stream)
            if len(head) > _HELD_BACK:
                raise BackendError("no-content", f"{len(head)} events and no content")
        raise BackendError("stream-cut", "the stream ended before any content")
    except BaseException:
        await close_stream(stream)
        raise
