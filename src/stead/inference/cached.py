"""Answers kept from before: the same question of the same key, asked so that the answer is always the same.

Knows nothing about where the bytes are kept (`core/cache`). Only requests with temperature 0 or a seed are kept,
unless told otherwise; `strict` requests are always asked anew, since a kept answer is a deviation. Equal requests
that come while the first is on its way wait for it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import msgspec
from msgspec.structs import replace

from stead.core.cache import Area
from stead.inference.backend import Backend, close_stream, left
from stead.inference.gather import Gathered, replay
from stead.inference.wrapper import Wrapper
from stead.messages import (
    Chunk,
    Deviation,
    GenerateRequest,
    Reply,
)

_HIT = Deviation("cache_hit", "the answer was kept from an equal request; nothing was sent")
_LONGEST_WAIT_S = 600.0
_ENCODER = msgspec.json.Encoder()
_REPLIES = msgspec.json.Decoder(Reply)


class Cached(Wrapper):
    """`inner`, with equal requests answered from `area`; `always` keeps answers that could differ too."""

    def __init__(self, inner: Backend, area: Area, *, always: bool = False) -> None:
        super().__init__(inner)
        self._area = area
        self._always = always
        self._coming: dict[bytes, asyncio.Future[None]] = {}

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        if not self._keeps(request):
            return await self.inner.generate(request, deadline)
        key = key_of(request)
        found = await self._find(key, deadline)
        if found is not None:
            return _hit(found, request)
        try:
            reply = await self.inner.generate(request, deadline)
            self._keep(key, reply)
            return reply
        finally:
            self._arrived(key)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece; a kept answer comes in one piece per choice."""
        if not self._keeps(request):
            chunks = self.inner.stream(request, deadline)
            try:
                async for chunk in chunks:
                    yield chunk
            finally:
                await close_stream(chunks)
            return
        key = key_of(request)
        found = await self._find(key, deadline)
        if found is not None:
            for chunk in replay(_hit(found, request)):
                yield chunk
            return
        gathered = Gathered()
        chunks = self.inner.stream(request, deadline)
        try:
            async for chunk in chunks:
                gathered.add(chunk)
                yield chunk
            reply = gathered.reply()
            if reply is not None:
                self._keep(key, reply)
        finally:
            self._arrived(key)
            await close_stream(chunks)

    def _keeps(self, request: GenerateRequest) -> bool:
        sampling = request.sampling
        is_fixed = sampling.temperature == 0 or sampling.seed is not None
        return not request.strict and (self._always or is_fixed)

    async def _find(self, key: bytes, deadline: float | None) -> bytes | None:
        """Return the kept answer, waiting for one that is coming; None: it is ours to ask for."""
        while True:
            found = self._area.get(key)
            coming = self._coming.get(key)
            if found is not None or coming is None:
                break
            try:
                async with asyncio.timeout(left(deadline, _LONGEST_WAIT_S)):
                    await asyncio.shield(coming)
            except TimeoutError:
                left(deadline, 0)
                return None  # the first one hangs: ask as well
        if found is None:
            self._coming[key] = asyncio.get_running_loop().create_future()
        return found

    def _arrived(self, key: bytes) -> None:
        """Wake those who wait; if there is nothing to find, the next of them asks."""
        coming = self._coming.pop(key, None)
        if coming is not None and not coming.done():
            coming.set_result(None)

    def _keep(self, key: bytes, reply: Reply) -> None:
        if all(c.finish_reason != "error" for c in reply.choices):
            self._area.put(key, _ENCODER.encode(reply))


def key_of(request: GenerateRequest) -> bytes:
    """Return the hash of everything that an answer depends on, the API key included.

    Tenants share nothing, so no one learns from the time an answer takes what others have asked.
    """
    tenant = "" if request.call is None else request.call.key
    plain = replace(request, stream=False, call=None)
    return hashlib.sha256(_ENCODER.encode((tenant, plain))).digest()


def _hit(kept: bytes, request: GenerateRequest) -> Reply:
    reply = _REPLIES.decode(kept)
    if request.call is not None:
        request.call.deviations.append(_HIT)
    return replace(reply, deviations=(*reply.deviations, _HIT))
