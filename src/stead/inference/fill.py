"""A Backend that adds what an engine leaves out: several choices, echo, exact seeds, counting.

Knows nothing about particular engines; each engine says what it lacks.
"""

from collections.abc import AsyncIterator

from msgspec.structs import replace

from stead.core.errors import BackendError
from stead.inference.backend import Backend, close_stream
from stead.inference.fan import merge_replies, merge_streams
from stead.inference.wrapper import Wrapper
from stead.messages import (
    Choice,
    Chunk,
    GenerateRequest,
    Message,
    Reply,
    Sampling,
    TokenLogprob,
)


class Filled(Wrapper):
    """`inner`, with what is in `lacks` done here.

    n: each choice is a request of its own with seed + its number, so usage is right and choices
    differ. echo: the prompt's text is put in front; its log-probabilities cannot be had. exact_seed:
    a seeded request asks not to reuse cached prompts, whose other batch sizes round differently.
    zero_logprobs: the engine sends no token's own value unless alternatives are asked for.
    count: the engine has no route that counts, so a prompt is read for one token and its usage told.
    """

    def __init__(self, inner: Backend, lacks: frozenset[str]) -> None:
        super().__init__(inner)
        self._lacks = lacks

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        replies = await self.inner.batch(self._split(request), deadline)
        reply = merge_replies(replies, same_prompt=True) if len(replies) > 1 else replies[0]
        return self._finish(reply, request)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        parts = [self.inner.stream(r, deadline) for r in self._split(request)]
        stream = parts[0]
        if len(parts) > 1:
            stream = merge_streams(parts, choices=1, same_prompt=True)
        echoed: set[int] = set() if self._echoes(request) else set(range(len(parts)))
        try:
            async for chunk in stream:
                text = chunk.text
                if chunk.index not in echoed and (text or chunk.finish_reason):
                    echoed.add(chunk.index)
                    text = _prompt_text(request) + text
                if text is chunk.text and not chunk.logprobs:
                    yield chunk
                else:
                    yield replace(chunk, text=text, logprobs=self._trim(chunk.logprobs, request))
        finally:
            await close_stream(stream)

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt. Raises: BackendError("not-supported")."""
        if "count" not in self._lacks:
            return await self.inner.count(request, deadline)
        asked = replace(request, stream=False, sampling=Sampling(max_tokens=1))
        usage = (await self.inner.generate(asked, deadline)).usage
        if not usage.prompt_tokens:
            raise BackendError("not-supported", f"the engine of {request.model!r} counts no tokens")
        return usage.prompt_tokens

    def _echoes(self, request: GenerateRequest) -> bool:
        return request.echo and "echo" in self._lacks

    def _split(self, request: GenerateRequest) -> list[GenerateRequest]:
        """Return the requests the engine can do that together make up this one."""
        sampling, extra, echo = request.sampling, request.extra, request.echo
        if self._echoes(request):
            _check_echo(request)
            echo = False
        if sampling.seed is not None and "exact_seed" in self._lacks:
            extra = {"cache_prompt": False} | extra
        if sampling.logprobs == 0 and "zero_logprobs" in self._lacks:
            sampling = replace(sampling, logprobs=1)
        n = sampling.n
        if n == 1 or "n" not in self._lacks:
            if sampling is request.sampling and extra is request.extra and echo is request.echo:
                return [request]
            return [replace(request, sampling=sampling, extra=extra, echo=echo)]
        return [
            replace(
                request,
                sampling=replace(
                    sampling, n=1, seed=None if sampling.seed is None else sampling.seed + i
                ),
                extra=extra,
                echo=echo,
            )
            for i in range(n)
        ]

    def _trim(
        self, tokens: tuple[TokenLogprob, ...], request: GenerateRequest
    ) -> tuple[TokenLogprob, ...]:
        wanted = request.sampling.logprobs
        if wanted is None:
            return ()
        return tuple(t if len(t.top) <= wanted else replace(t, top=t.top[:wanted]) for t in tokens)

    def _finish(self, reply: Reply, request: GenerateRequest) -> Reply:
        echoes = self._echoes(request)
        if not echoes and not any(c.logprobs for c in reply.choices):
            return reply
        return replace(
            reply, choices=tuple(self._finish_choice(c, request, echoes) for c in reply.choices)
        )

    def _finish_choice(self, choice: Choice, request: GenerateRequest, echoes: bool) -> Choice:
        message = choice.message
        if echoes:
            message = Message("assistant", _prompt_text(request) + message.text)
        return replace(choice, message=message, logprobs=self._trim(choice.logprobs, request))


def _prompt_text(request: GenerateRequest) -> str:
    return request.prompt if isinstance(request.prompt, str) else ""


def _check_echo(request: GenerateRequest) -> None:
    if request.sampling.logprobs is not None:
        why, param = "log-probabilities of the prompt", "logprobs"
    elif not isinstance(request.prompt, str):
        why, param = "an echo of token ids", "echo"
    else:
        return
    raise BackendError(
        "not-supported",
        f"this engine gives no {why}",
        hint="stead serve --engine transformers --model …",
        status=400,
        param=param,
    )
