"""What is sent to a model when the request says nothing: the defaults that a strategy gives a model.

Knows nothing about strategies. What a request says stays, 0 included.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from msgspec.structs import replace

from stead.config.document import merge_maps
from stead.inference.backend import Backend
from stead.inference.wrapper import Wrapper
from stead.messages import Chunk, GenerateRequest, Reply


class Defaulted(Wrapper):
    """`inner`, asked with `fields` of `Sampling`, and with `extra` fields, where a request leaves them open."""

    def __init__(
        self,
        inner: Backend,
        fields: Mapping[str, int | float],
        extra: Mapping[str, Any] | None = None,  # Any: JSON values
    ) -> None:
        super().__init__(inner)
        self._fields = dict(fields)
        self._extra = {} if extra is None else dict(extra)

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        return await self.inner.generate(self._filled(request), deadline)

    def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        return self.inner.stream(self._filled(request), deadline)

    def _filled(self, request: GenerateRequest) -> GenerateRequest:
        sampling = request.sampling
        missing = {k: v for k, v in self._fields.items() if getattr(sampling, k) is None}
        if missing:
            request = replace(request, sampling=replace(sampling, **missing))
        if self._extra:
            request = replace(request, extra=merge_maps(self._extra, request.extra))
        return request
