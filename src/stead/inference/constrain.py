"""What a strategy allows each request: which names, how long a prompt and answer, how much time, how many at once.

Knows nothing about money, endpoints or their order. A shortened answer is a recorded deviation.
"""

import asyncio
import difflib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from stead.core.errors import BackendError, BackendTimeout, NotFound
from stead.inference.backend import Backend, close_stream, left
from stead.inference.candidate import Request
from stead.inference.strict import declare, with_reply, with_stream
from stead.inference.tokens import prompt_tokens
from stead.inference.wrapper import Wrapper
from stead.messages import Chunk, Deviation, EmbedReply, EmbedRequest, GenerateRequest, Reply

R = TypeVar("R", GenerateRequest, EmbedRequest)


@dataclass(frozen=True, slots=True)
class Room:
    """What a request may take. None: as much as it likes.

    `names`: the model names that are served. `input_tokens` and `output_tokens` bound prompt and answer,
    `timeout_s` the request as a whole, `at_once` how many are at work.
    """

    names: frozenset[str] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    timeout_s: float | None = None
    at_once: int | None = None


class Constrained(Wrapper):
    """`inner`, for requests that fit; usable from several event loops, each counting its own."""

    def __init__(
        self, inner: Backend, room: Room, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(inner)
        self._room = room
        self._clock = clock
        self._gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            WeakKeyDictionary()
        )

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole. Raises: NotFound("model-not-found"), BackendError("input-too-long")."""
        deadline = self._deadline(deadline)
        request, shortened = self._fit(request)
        async with self._turn(deadline):
            return with_reply(await self.inner.generate(request, deadline), shortened)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece. Raises as `generate`."""
        deadline = self._deadline(deadline)
        request, shortened = self._fit(request)
        async with self._turn(deadline):
            chunks = self.inner.stream(request, deadline)
            told = with_stream(chunks, shortened) if shortened else chunks
            try:
                async for chunk in told:
                    yield chunk
            finally:
                await close_stream(told)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors. Raises as `generate`."""
        deadline = self._deadline(deadline)
        self._check(request)
        async with self._turn(deadline):
            return await self.inner.embed(request, deadline)

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt."""
        self._check_name(request)
        return await self.inner.count(request, self._deadline(deadline))

    def _deadline(self, deadline: float | None) -> float | None:
        if self._room.timeout_s is None:
            return deadline
        own = self._clock() + self._room.timeout_s
        return own if deadline is None else min(own, deadline)

    def _turn(self, deadline: float | None) -> AbstractAsyncContextManager[None]:
        """Return what to hold while at work."""
        if self._room.at_once is None:
            return nullcontext()
        loop = asyncio.get_running_loop()
        gate = self._gates.get(loop)
        if gate is None:
            gate = self._gates[loop] = asyncio.Semaphore(self._room.at_once)
        return _Turn(gate, deadline)

    def _fit(self, request: GenerateRequest) -> tuple[GenerateRequest, Sequence[Deviation]]:
        """Return the request with an answer no longer than allowed, and what that changes."""
        self._check(request)
        most, asked = self._room.output_tokens, request.sampling.max_tokens
        if most is None or (asked is not None and asked <= most):
            return request, ()
        said: Sequence[Deviation] = ()
        if asked is not None:  # who asked for nothing in particular gets nothing else
            said = (Deviation("answer_limited", f"max_tokens {asked} → {most}"),)
            declare(request, said)
        return replace(request, sampling=replace(request.sampling, max_tokens=most)), said

    def _check(self, request: Request) -> None:
        self._check_name(request)
        most = self._room.input_tokens
        tokens = 0 if most is None else prompt_tokens(request)
        if most is not None and tokens > most:
            raise BackendError(
                "input-too-long",
                f"the prompt has about {tokens} tokens, and the strategy allows {most}",
                status=400,
                param="messages",
            )

    def _check_name(self, request: Request) -> None:
        names = self._room.names
        if names is None or request.model in names:
            return
        near = difflib.get_close_matches(request.model, names, n=1)
        ask = f"; did you mean {near[0]!r}?" if near else ""
        raise NotFound(
            "model-not-found",
            f"the model {request.model[:200]!r} is not served here{ask} "
            f"(served: {', '.join(sorted(names))})",
            param="model",
        )


class _Turn:
    """A place among those at work, waited for no longer than the deadline allows."""

    def __init__(self, gate: asyncio.Semaphore, deadline: float | None) -> None:
        self._gate = gate
        self._deadline = deadline

    async def __aenter__(self) -> None:
        if not self._gate.locked():
            await self._gate.acquire()  # a free place is taken without waiting
            return
        try:
            async with asyncio.timeout(
                None if self._deadline is None else left(self._deadline, 1e9)
            ):
                await self._gate.acquire()
        except TimeoutError as error:
            raise BackendTimeout(
                "deadline", "the deadline of the request passed while it waited for its turn"
            ) from error

    async def __aexit__(self, *_: object) -> None:
        self._gate.release()
