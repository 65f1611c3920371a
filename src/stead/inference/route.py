"""Names to Backends: the first step of every request's way.

Knows nothing about what a Backend is or costs; choosing among candidates comes on top.
"""

import difflib
from collections.abc import AsyncIterator, Mapping

from msgspec.structs import replace

from stead.core.errors import NotFound
from stead.inference.backend import Backend, close_stream
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, ModelCard, Reply


class ByName(Backend):
    """Answer for several models, each by the name that clients use.

    `targets` maps that name to a Backend and to the name by which the Backend knows the model.
    """

    def __init__(self, targets: Mapping[str, tuple[Backend, str]]) -> None:
        self._targets = dict(targets)

    def _find(self, name: str) -> tuple[Backend, str]:
        found = self._targets.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self._targets, n=1)
            ask = f"; did you mean {near[0]!r}?" if near else ""
            known = ", ".join(sorted(self._targets))
            raise NotFound(
                "model-not-found",
                f"the model {name[:200]!r} is not served here{ask} (served: {known})",
                param="model",
            )
        return found

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole. Raises: NotFound("model-not-found")."""
        backend, name = self._find(request.model)
        if name == request.model:
            return await backend.generate(request, deadline)
        reply = await backend.generate(replace(request, model=name), deadline)
        return replace(reply, model=request.model)

    def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece. Raises: NotFound("model-not-found"), at once."""
        backend, name = self._find(request.model)
        if name == request.model:
            return backend.stream(request, deadline)
        return _renamed(backend.stream(replace(request, model=name), deadline), request.model)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors. Raises: NotFound("model-not-found")."""
        backend, name = self._find(request.model)
        reply = await backend.embed(replace(request, model=name), deadline)
        return replace(reply, model=request.model)

    async def models(self) -> list[ModelCard]:
        """List every name."""
        return [ModelCard(id=name) for name in self._targets]

    async def close(self) -> None:
        """Close every Backend once."""
        for backend in {id(b): b for b, _ in self._targets.values()}.values():
            await backend.close()


async def _renamed(chunks: AsyncIterator[Chunk], name: str) -> AsyncIterator[Chunk]:
    try:
        async for chunk in chunks:
            yield replace(chunk, model=name)
    finally:
        await close_stream(chunks)
