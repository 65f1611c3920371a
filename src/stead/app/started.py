"""A Backend whose program is found or started at the first request, and again if it has died.

Knows nothing about programs; whoever starts one says how.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence

from stead.inference.backend import Backend, close_stream
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, Reply


class Started(Backend):
    """Asks what `start` returns. Usable from several loops and threads, as far as `start` is."""

    @abstractmethod
    def start(self) -> Backend:
        """Start the program unless it runs; return what speaks to it. Blocks; once at a time."""

    @abstractmethod
    def running(self) -> Backend | None:
        """Return what speaks to the program, or None when it must be started."""

    async def _ready(self) -> Backend:
        found = self.running()
        return await asyncio.to_thread(self.start) if found is None else found

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        return await (await self._ready()).generate(request, deadline)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        chunks = (await self._ready()).stream(request, deadline)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await close_stream(chunks)

    async def batch(
        self, requests: Sequence[GenerateRequest], deadline: float | None = None
    ) -> list[Reply]:
        """Answer many requests, in order."""
        return await (await self._ready()).batch(requests, deadline)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        return await (await self._ready()).embed(request, deadline)

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt."""
        return await (await self._ready()).count(request, deadline)
