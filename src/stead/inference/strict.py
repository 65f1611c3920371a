"""Deviations: say them in the record and in the answer, or refuse the answer where they are not wanted.

Knows nothing about what deviates. A backend that knows before sending calls `declare`; `Strict` stands around
everything and refuses what was found out only by the answer.
"""

from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from stead.core.errors import BackendError
from stead.inference.backend import close_stream
from stead.inference.candidate import Request
from stead.inference.wrapper import Wrapper
from stead.messages import (
    Chunk,
    Deviation,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    Reply,
)


def refusal(deviations: Sequence[Deviation], param: str | None = None) -> BackendError:
    """Return the error that stands for deviations which a strict request does not take."""
    said = "; ".join(f"{d.kind}: {d.detail}" for d in deviations)
    return BackendError(
        "deviation",
        f"the request is strict, and this would be done differently: {said}",
        status=400,
        param=param,
        deviations=[[d.kind, d.detail] for d in deviations],
    )


def declare(request: Request, deviations: Sequence[Deviation]) -> None:
    """Write deviations into the request's record. Raises: BackendError("deviation") when strict."""
    if not deviations:
        return
    if request.strict:
        raise refusal(deviations)
    note(request, deviations)


def note(request: Request, deviations: Sequence[Deviation]) -> None:
    """Write deviations into the request's record, each once, strict or not."""
    if request.call is not None:
        request.call.deviations.extend(d for d in deviations if d not in request.call.deviations)


def with_reply(reply: Reply, deviations: Sequence[Deviation]) -> Reply:
    """Return the reply with deviations added."""
    if not deviations:
        return reply
    return replace(reply, deviations=(*reply.deviations, *deviations))


async def with_stream(
    chunks: AsyncIterator[Chunk], deviations: Sequence[Deviation]
) -> AsyncIterator[Chunk]:
    """Yield the chunks, the first one with deviations added."""
    first = True
    try:
        async for chunk in chunks:
            if first:
                first = False
                yield replace(chunk, deviations=(*chunk.deviations, *deviations))
            else:
                yield chunk
    finally:
        await close_stream(chunks)


class Strict(Wrapper):
    """`inner`, whose answers are refused when the request is strict and they deviate."""

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole. Raises: BackendError("deviation")."""
        reply = await self.inner.generate(request, deadline)
        if request.strict:
            _check(request, reply.deviations)
        return reply

    def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece. Raises: BackendError("deviation"), as soon as it is known."""
        chunks = self.inner.stream(request, deadline)
        return _checked(chunks, request) if request.strict else chunks

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors. Raises: BackendError("deviation")."""
        reply = await self.inner.embed(request, deadline)
        if request.strict:
            _check(request, ())
        return reply


async def _checked(chunks: AsyncIterator[Chunk], request: GenerateRequest) -> AsyncIterator[Chunk]:
    try:
        async for chunk in chunks:
            _check(request, chunk.deviations)
            yield chunk
    finally:
        await close_stream(chunks)


def _check(request: Request, said: Sequence[Deviation]) -> None:
    recorded = () if request.call is None else request.call.deviations
    found = tuple(dict.fromkeys((*said, *recorded)))
    if found:
        raise refusal(found)
