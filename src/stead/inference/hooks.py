"""Hooks: code that sees every request before and every answer after, and may change both.

Knows nothing about where hooks come from. Several are like rings: the first sees a request first and its
answer last.
"""

from abc import ABC
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace

from stead.core.errors import BackendError, ConfigError
from stead.inference.backend import Backend, close_stream
from stead.inference.wrapper import Wrapper
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, Reply


class Hook(ABC):  # noqa: B024 - every method has a meaning when left out: change nothing
    """One hook. Override what you need; each method returns what goes on.

    Requests and replies are frozen: change them with `msgspec.structs.replace`. An exception ends the
    request with it. `options` is exactly what was set when the hook was enabled.
    """

    version: ClassVar[str] = "0"
    requires: ClassVar[tuple[str, ...]] = ()  # modules it needs

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:  # Any: JSON values
        self.options: Mapping[str, Any] = {} if options is None else options

    async def start(self) -> None:
        """Prepare, once, before the first request."""
        return

    async def before(self, request: GenerateRequest) -> GenerateRequest:
        """Return the request that is sent on."""
        return request

    async def before_embed(self, request: EmbedRequest) -> EmbedRequest:
        """Return the request for vectors that is sent on."""
        return request

    async def after(self, request: GenerateRequest, reply: Reply) -> Reply:
        """Return the whole answer that is given back."""
        return reply

    def chunk(self, request: GenerateRequest, chunk: Chunk) -> Chunk | None:
        """Return the piece of a streamed answer that is given on; None drops it.

        A piece that ends a choice or carries the usage is never dropped: its text is.
        """
        return chunk

    async def close(self) -> None:
        """Release what was opened."""
        return


class Hooked(Wrapper):
    """`inner` with hooks around it."""

    def __init__(self, inner: Backend, hooks: Sequence[Hook]) -> None:
        super().__init__(inner)
        self._hooks = tuple(hooks)
        self._back = tuple(reversed(self._hooks))
        self._started = False

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        request = await self._before(request)
        reply = await self.inner.generate(request, deadline)
        for hook in self._back:
            reply = await hook.after(request, reply)
        return reply

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        request = await self._before(request)
        chunks = self.inner.stream(request, deadline)
        try:
            async for chunk in chunks:
                changed = self._chunk(request, chunk)
                if changed is not None:
                    yield changed
        finally:
            await close_stream(chunks)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        await self._start()
        for hook in self._hooks:
            request = await hook.before_embed(request)
        return await self.inner.embed(request, deadline)

    async def close(self) -> None:
        """Close the inner one and the hooks."""
        await super().close()
        if self._started:
            self._started = False
            for hook in self._back:
                await hook.close()

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            for hook in self._hooks:
                await hook.start()

    async def _before(self, request: GenerateRequest) -> GenerateRequest:
        await self._start()
        call = request.call
        for hook in self._hooks:
            request = await hook.before(request)
            if not isinstance(request, GenerateRequest):
                raise BackendError(
                    "bad-hook", f"the hook {type(hook).__name__} returned no request: {request!r}"
                )
        return request if request.call is call else replace(request, call=call)

    def _chunk(self, request: GenerateRequest, chunk: Chunk) -> Chunk | None:
        found: Chunk | None = chunk
        for hook in self._back:
            if found is not None:
                found = hook.chunk(request, found)
        if found is None and (chunk.finish_reason is not None or chunk.usage is not None):
            return replace(chunk, text="", reasoning="", tool_calls=(), logprobs=())
        return found


def check_options(options: object) -> dict[str, Any]:  # Any: JSON values
    """Return a hook's options. Raises: ConfigError("bad-options") when they are no mapping."""
    if not isinstance(options, dict):
        raise ConfigError("bad-options", f"a hook's options are a mapping, not {options!r}")
    return options
