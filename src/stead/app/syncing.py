"""The Gateway for code that does not await: one background loop runs everything.

Knows nothing about models. It works inside a running loop too, as notebooks have one.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stead.app.asking import Prompt
from stead.core.closing import Closing
from stead.core.loop import LOOP
from stead.inference.backend import close_stream
from stead.messages import Chunk, EmbedReply, ModelCard

if TYPE_CHECKING:
    from stead.app.gateway import Gateway
    from stead.app.tracking import Active, Stats


class SyncGateway(Closing):
    """The methods of `Gateway` for code that does not await; works inside a running loop too."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway

    def generate(self, prompt: Prompt, **options: Any) -> Any:  # Any: a Reply, or what `output` is
        """Answer a prompt or a conversation whole."""
        return LOOP.run(self._gateway.generate(prompt, **options))

    def stream(self, prompt: Prompt, **options: Any) -> Iterator[Chunk]:
        """Answer piece by piece; closing the iterator cancels the work."""
        chunks = self._gateway.stream(prompt, **options)
        try:
            while (chunk := LOOP.run(_next(chunks))) is not None:
                yield chunk
        finally:
            LOOP.run(close_stream(chunks))

    def batch(self, prompts: Sequence[Prompt], **options: Any) -> list[Any]:
        """Answer many prompts, in order."""
        return LOOP.run(self._gateway.batch(prompts, **options))

    def embed(self, texts: str | Sequence[str]) -> EmbedReply:
        """Turn texts into vectors."""
        return LOOP.run(self._gateway.embed(texts))

    def models(self) -> list[ModelCard]:
        """List what can be asked for."""
        return LOOP.run(self._gateway.models())

    def load(self) -> None:
        """Start the engine before the first request."""
        LOOP.run(self._gateway.load())

    def stats(self) -> "Stats":
        """Return what has been done since the start."""
        return self._gateway.stats()

    def active(self) -> "list[Active]":
        """Return the requests at work."""
        return self._gateway.active()

    def close(self) -> None:
        """Close connections and stop the engine."""
        LOOP.run(self._gateway.close())


async def _next(chunks: AsyncIterator[Chunk]) -> Chunk | None:
    return await anext(chunks, None)
