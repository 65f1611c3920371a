"""A Backend over a program that writes its answer as text, one answer at a time.

Knows nothing about the program; a `Speaker` does. Stop texts and the token limit are kept here, and
tokens are counted by the pieces in which the program writes them.
"""

import asyncio
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from stead.core.errors import BackendError, BackendTimeout
from stead.inference.backend import Backend
from stead.messages import (
    Choice,
    Chunk,
    FinishReason,
    GenerateRequest,
    Message,
    ModelCard,
    Reply,
    Sampling,
    Usage,
)

_CHARACTERS_PER_TOKEN = 4  # of English text, by Gemma's tokenizer; only for the prompt's estimate


class Speaker(ABC):
    """A program that answers a prompt in pieces of text."""

    @abstractmethod
    def speak(self, prompt: str, sampling: Sampling) -> AsyncGenerator[str, None]:
        """Answer piece by piece; closing the iterator early ends the work.

        Raises: BackendError("engine-died").
        """

    @abstractmethod
    async def close(self) -> None:
        """End the program; safe to call twice."""


class Spoken(Backend):
    """One model of one speaker. Requests wait for one another; bound the queue before it."""

    def __init__(
        self,
        speaker: Speaker,
        name: str,
        render: Callable[[GenerateRequest], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._speaker = speaker
        self._name = name
        self._render = render
        self._clock = clock
        self._turn = asyncio.Lock()

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        parts, last = [], None
        async for chunk in self.stream(request, deadline):
            parts.append(chunk.text)
            last = chunk
        if last is None or last.finish_reason is None or last.usage is None:
            raise BackendError("stream-cut", f"{self._name!r} ended without an end")
        choice = Choice(0, Message("assistant", "".join(parts)), last.finish_reason)
        return Reply(
            id=last.id, model=self._name, created=last.created, choices=(choice,), usage=last.usage
        )

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece. Raises: BackendError("not-supported"), BackendTimeout("deadline")."""
        _check(request)
        prompt = self._render(request)
        id_, created = f"spoken-{uuid.uuid4().hex}", int(self._clock())
        sampling, text, said, finish = request.sampling, "", 0, "stop"
        held = max((len(s) for s in sampling.stop), default=1) - 1
        limit = sampling.max_tokens
        async with (
            _until(deadline),
            self._turn,
            aclosing(self._speaker.speak(prompt, sampling)) as pieces,
        ):
            count = 0
            async for piece in pieces:
                if limit is not None and count >= limit:
                    finish = "length"
                    break
                count += 1
                text += piece
                end = min((i for s in sampling.stop if (i := text.find(s)) >= 0), default=-1)
                if end >= 0:
                    text = text[:end]
                    break
                ready = max(said, len(text) - held)
                if ready > said:
                    yield Chunk(id=id_, model=self._name, created=created, text=text[said:ready])
                    said = ready
        if said < len(text):
            yield Chunk(id=id_, model=self._name, created=created, text=text[said:])
        reason: FinishReason = "length" if finish == "length" else "stop"
        usage = Usage(-(-len(prompt) // _CHARACTERS_PER_TOKEN), count)
        yield Chunk(id=id_, model=self._name, created=created, finish_reason=reason, usage=usage)

    async def models(self) -> list[ModelCard]:
        """List the one model."""
        return [ModelCard(id=self._name, capabilities=("chat",))]

    async def close(self) -> None:
        """End the program."""
        await self._speaker.close()


def _check(request: GenerateRequest) -> None:
    """Refuse what changes the meaning of an answer and cannot be done."""
    asked = {
        "tools": bool(request.tools),
        "response_format": request.response_format is not None,
        "logprobs": request.sampling.logprobs is not None,
        "echo": request.echo,
        "prompt": isinstance(request.prompt, tuple),
    }
    for param, is_asked in asked.items():
        if is_asked:
            raise BackendError(
                "not-supported", f"this engine writes plain text only: no {param}",
                status=400, param=param,
            )  # fmt: skip


class _until:  # noqa: N801 - reads as a word of the statement it stands in
    """A deadline of `time.monotonic` around a block. Raises: BackendTimeout("deadline")."""

    def __init__(self, deadline: float | None) -> None:
        rest = None if deadline is None else max(0.0, deadline - time.monotonic())
        self._limit = asyncio.timeout(rest)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._limit.__aexit__(*error)  # type: ignore[arg-type]
        except TimeoutError as late:
            raise BackendTimeout("deadline", "the deadline of the request has passed") from late
