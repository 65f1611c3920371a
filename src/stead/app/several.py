"""Several Backends as one: each request goes to the first that answers to its model's name.

Knows nothing about what the Backends are.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import chain

from stead.core.errors import NotFound
from stead.core.suggest import nearest
from stead.inference.backend import Backend
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, ModelCard, Reply


class Several(Backend):
    """Backends by the names each answers to; the first that knows a name has it."""

    def __init__(
        self, parts: Sequence[tuple[frozenset[str], Backend]], rest: Backend | None = None
    ) -> None:
        self._parts = tuple(parts)
        self._rest = rest
        self._all = (*(b for _, b in self._parts), *(() if rest is None else (rest,)))

    def _find(self, name: str) -> Backend:
        for names, backend in self._parts:
            if name in names or name.rpartition(":")[0] in names:  # or an adapter over it
                return backend
        if self._rest is not None:
            return self._rest
        known = sorted(set(chain.from_iterable(names for names, _ in self._parts)))
        near = nearest(name, known)
        ask = f"; did you mean {near!r}?" if near else ""
        raise NotFound(
            "model-not-found", f"the model {name[:200]!r} is not served here{ask}", param="model"
        )

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole. Raises: NotFound("model-not-found")."""
        return await self._find(request.model).generate(request, deadline)

    def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece. Raises: NotFound("model-not-found"), at once."""
        return self._find(request.model).stream(request, deadline)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors. Raises: NotFound("model-not-found")."""
        return await self._find(request.model).embed(request, deadline)

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt. Raises: NotFound("model-not-found")."""
        return await self._find(request.model).count(request, deadline)

    async def models(self) -> list[ModelCard]:
        """List every name once."""
        listed = await asyncio.gather(*(backend.models() for backend in self._all))
        return list({card.id: card for card in reversed([*chain(*listed)])}.values())[::-1]

    async def close(self) -> None:
        """Close every Backend."""
        for backend in self._all:
            await backend.close()
