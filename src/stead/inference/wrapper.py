"""A Backend around a Backend that changes nothing: the base of those that change one thing.

Knows nothing about what changes.
"""

from collections.abc import AsyncIterator, Sequence

from stead.inference.backend import Backend
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, ModelCard, Reply


class Wrapper(Backend):
    """`inner`, as it is."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        return await self.inner.generate(request, deadline)

    def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        return self.inner.stream(request, deadline)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        return await self.inner.embed(request, deadline)

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt."""
        return await self.inner.count(request, deadline)

    async def models(self) -> list[ModelCard]:
        """List what can be asked for."""
        return await self.inner.models()

    async def batch(
        self, requests: Sequence[GenerateRequest], deadline: float | None = None
    ) -> list[Reply]:
        """Answer many requests, in order: each through this very backend."""
        return await Backend.batch(self, requests, deadline)

    async def close(self) -> None:
        """Close the inner one."""
        await self.inner.close()
