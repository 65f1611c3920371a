"""The one seam to anything that answers for a model; wrappers have the same shape.

Knows nothing about protocols, vendors or engines. Cloud, local and in-process models are all a
`Backend`; retry, limits, cache and routing are Backends around a Backend.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from stead.core.errors import BackendError, BackendTimeout
from stead.messages import (
    Chunk,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    ModelCard,
    Reply,
)


class Backend(ABC):
    """Speak to one or more models.

    `deadline` is a time of `time.monotonic()`, made once at the edge and passed on, never
    re-derived; None means no deadline. Every method raises BackendError or one of its kinds.
    """

    @abstractmethod
    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""

    @abstractmethod
    def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece; closing the iterator cancels the work upstream."""

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors. Raises: BackendError("not-supported") unless overridden."""
        raise BackendError("not-supported", f"{request.model!r} has no embeddings here")

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt. Raises: BackendError("not-supported") unless overridden."""
        raise BackendError("not-supported", f"{request.model!r} has no token counter here")

    @abstractmethod
    async def models(self) -> list[ModelCard]:
        """List what can be asked for."""

    async def batch(
        self, requests: Sequence[GenerateRequest], deadline: float | None = None
    ) -> list[Reply]:
        """Answer many requests, in order. In-process models override this to share the work."""
        gate = asyncio.Semaphore(8)  # as many as the embedded engines have slots

        async def one(request: GenerateRequest) -> Reply:
            async with gate:
                return await self.generate(request, deadline)

        return list(await asyncio.gather(*(one(r) for r in requests)))

    async def close(self) -> None:
        """Release connections and processes; safe to call twice."""
        return


def left(deadline: float | None, cap_s: float) -> float:
    """Return the seconds a wait may take: the smaller of `cap_s` and what the deadline leaves.

    Raises: BackendTimeout("deadline") when nothing is left.
    """
    if deadline is None:
        return cap_s
    rest = deadline - time.monotonic()
    if rest <= 0:
        raise BackendTimeout("deadline", "the deadline of the request has passed")
    return min(cap_s, rest)


async def close_stream(stream: AsyncIterator[Chunk]) -> None:
    """Close a stream that may not have been read to its end, which cancels the work upstream."""
    if isinstance(stream, AsyncGenerator):
        await stream.aclose()
