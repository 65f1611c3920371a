"""A Backend that says what its engine cannot obey: each such parameter that is asked for is a deviation.

Knows nothing about particular engines; each engine names its own.
"""

from collections.abc import AsyncIterator

from msgspec.structs import replace

from stead.core.errors import BackendError
from stead.inference.backend import Backend, close_stream
from stead.messages import (
    Chunk,
    Deviation,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    ModelCard,
    Reply,
    Sampling,
)

_UNSET = Sampling()


class Lacking(Backend):
    """`inner`, whose engine ignores the fields `drops` of `Sampling`; strict requests are refused."""

    def __init__(self, inner: Backend, drops: frozenset[str], *, estimated: bool = False) -> None:
        self._inner = inner
        self._drops = drops
        self._estimated = estimated

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole. Raises: BackendError("deviation") when strict."""
        found = self._declared(request)
        reply = await self._inner.generate(request, deadline)
        return replace(reply, deviations=(*reply.deviations, *found)) if found else reply

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece; the first piece carries the deviations."""
        found = self._declared(request)
        chunks = self._inner.stream(request, deadline)
        try:
            async for chunk in chunks:
                yield replace(chunk, deviations=(*chunk.deviations, *found)) if found else chunk
                found = ()
        finally:
            await close_stream(chunks)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        return await self._inner.embed(request, deadline)

    async def models(self) -> list[ModelCard]:
        """List what can be asked for."""
        return await self._inner.models()

    async def close(self) -> None:
        """Close the inner one."""
        await self._inner.close()

    def _declared(self, request: GenerateRequest) -> tuple[Deviation, ...]:
        asked = [n for n in sorted(self._drops) if _is_asked(request.sampling, n)]
        found = [Deviation("param_dropped", f"{n}: the engine decides it itself") for n in asked]
        if found and request.strict:
            raise BackendError(
                "deviation",
                f"the request is strict, and this engine cannot obey {', '.join(asked)}",
                status=400,
                param=asked[0],
            )
        if self._estimated:
            found.append(Deviation("usage_estimated", "the engine does not count tokens"))
        if request.call is not None:
            request.call.deviations.extend(d for d in found if d not in request.call.deviations)
        return tuple(found)


def _is_asked(sampling: Sampling, name: str) -> bool:
    return bool(getattr(sampling, name) != getattr(_UNSET, name))
