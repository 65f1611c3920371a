"""A Backend that says back what it was told: for tests, for measuring, for trying the server.

Knows nothing about models. Its tokens are words with the space before them; its vectors are made
from a hash, so equal texts have equal vectors.
"""

import asyncio
import hashlib
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable

from stead.inference.backend import Backend, left
from stead.messages import (
    Choice,
    Chunk,
    EmbedReply,
    EmbedRequest,
    FinishReason,
    GenerateRequest,
    Message,
    ModelCard,
    Reply,
    TokenLogprob,
    Usage,
)

_WORD = re.compile(r"\s*\S+|\s+$")
_SIZE = 8


class Echo(Backend):
    """Answer with the last message or the prompt. `delay_s` is waited before each token."""

    def __init__(
        self, model: str = "echo", *, delay_s: float = 0.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._model = model
        self._delay_s = delay_s
        self._clock = clock

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        words, finish = _answer(request)
        if self._delay_s:
            await self._wait(len(words), deadline)
        choice = Choice(0, Message("assistant", "".join(words)), finish, _logprobs(request, words))
        return Reply(
            id=_new_id(),
            model=self._model,
            created=int(self._clock()),
            choices=(choice,),
            usage=Usage(len(_words(_asked(request))), len(words)),
        )

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer word by word."""
        words, finish = _answer(request)
        id_, created = _new_id(), int(self._clock())
        for word in words:
            if self._delay_s:
                await self._wait(1, deadline)
            yield Chunk(
                id=id_,
                model=self._model,
                created=created,
                text=word,
                logprobs=_logprobs(request, [word]),
            )
        usage = Usage(len(_words(_asked(request))), len(words))
        yield Chunk(id=id_, model=self._model, created=created, finish_reason=finish, usage=usage)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Return a vector per input, made from a hash of its text."""
        size = _SIZE if request.dimensions is None else request.dimensions
        vectors = tuple(_vector(str(text), size) for text in request.input)
        tokens = sum(len(_words(t)) if isinstance(t, str) else len(t) for t in request.input)
        return EmbedReply(model=self._model, vectors=vectors, usage=Usage(tokens))

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the words of all messages or of the prompt."""
        texts = [m.text for m in request.messages] if request.messages else [_asked(request)]
        return sum(len(_words(t)) for t in texts)

    async def models(self) -> list[ModelCard]:
        """List the one model."""
        return [ModelCard(id=self._model, capabilities=("chat", "completion", "embedding"))]

    async def _wait(self, tokens: int, deadline: float | None) -> None:
        wait_s = self._delay_s * tokens
        allowed_s = left(deadline, wait_s)
        await asyncio.sleep(allowed_s)
        if allowed_s < wait_s:
            left(deadline, wait_s)


def _new_id() -> str:
    return f"echo-{uuid.uuid4().hex}"


def _asked(request: GenerateRequest) -> str:
    if request.messages is not None:
        return request.messages[-1].text
    prompt = request.prompt
    return prompt if isinstance(prompt, str) else " ".join(map(str, prompt or ()))


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _answer(request: GenerateRequest) -> tuple[list[str], FinishReason]:
    """Return the answer's words, cut at a stop text and at the token limit."""
    text, sampling = _asked(request), request.sampling
    ends = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
    words = _words(text[: min(ends)] if ends else text)
    if sampling.max_tokens is not None and len(words) > sampling.max_tokens:
        return words[: sampling.max_tokens], "length"
    return words, "stop"


def _logprobs(request: GenerateRequest, words: list[str]) -> tuple[TokenLogprob, ...]:
    if request.sampling.logprobs is None:
        return ()
    top = min(1, request.sampling.logprobs)
    return tuple(TokenLogprob(w, 0.0, top=((w, 0.0),) * top) for w in words)


def _vector(text: str, size: int) -> tuple[float, ...]:
    data = hashlib.shake_128(text.encode()).digest(size)
    return tuple(b / 255 for b in data)
