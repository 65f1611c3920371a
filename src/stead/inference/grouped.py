"""Requests that come at about the same time go out together: texts to embed as one call, generations at once.

Knows nothing about retries or prices: a joined call is one request to the endpoint, and each caller is told
its share of the tokens, which add up to what the endpoint reported.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from stead.core.errors import BackendError, BackendTimeout, SteadError
from stead.inference.backend import Backend, close_stream, left
from stead.inference.tokens import prompt_tokens
from stead.inference.wrapper import Wrapper
from stead.messages import Call, Chunk, EmbedReply, EmbedRequest, GenerateRequest, Reply, Usage

_Key = tuple[asyncio.AbstractEventLoop, object]


@dataclass(slots=True, eq=False)
class _Gate:
    """Generations that wait for one another."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0


@dataclass(slots=True, eq=False)
class _Group:
    """Texts that go out as one call."""

    requests: list[EmbedRequest] = field(default_factory=list)
    waiting: list["asyncio.Future[EmbedReply]"] = field(default_factory=list)
    deadline: float | None = None
    texts: int = 0


class Grouped(Wrapper):
    """`inner`, asked once `size` requests (or texts) have come, or `wait_s` after the first of them."""

    def __init__(self, inner: Backend, size: int, wait_s: float) -> None:
        super().__init__(inner)
        self._size = size
        self._wait_s = wait_s
        self._gates: dict[_Key, _Gate] = {}
        self._groups: dict[_Key, _Group] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        await self._together(request.model, deadline)
        return await self.inner.generate(request, deadline)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        await self._together(request.model, deadline)
        chunks = self.inner.stream(request, deadline)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await close_stream(chunks)

    async def _together(self, model: str, deadline: float | None) -> None:
        """Wait until enough others have come, or long enough."""
        loop = asyncio.get_running_loop()
        key = (loop, model)
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = _Gate()
            loop.call_later(self._wait_s, self._open, key, gate)
        gate.waiting += 1
        if gate.waiting >= self._size:
            self._open(key, gate)
        try:
            async with asyncio.timeout(left(deadline, self._wait_s + 1)):
                await gate.opened.wait()
        except TimeoutError as error:
            raise _late() from error

    def _open(self, key: _Key, gate: _Gate) -> None:
        gate.opened.set()
        if self._gates.get(key) is gate:
            del self._gates[key]

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        loop = asyncio.get_running_loop()
        key = (loop, (request.model, request.dimensions, request.user, request.strict))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(deadline=deadline)
            loop.call_later(self._wait_s, self._send, key, group)
        future: asyncio.Future[EmbedReply] = loop.create_future()
        group.requests.append(request)
        group.waiting.append(future)
        group.texts += len(request.input)
        if deadline is None or group.deadline is None:
            group.deadline = None
        else:
            group.deadline = max(group.deadline, deadline)
        if group.texts >= self._size:
            self._send(key, group)
        try:
            async with asyncio.timeout(None if deadline is None else left(deadline, 1e9)):
                return await future
        except TimeoutError as error:
            raise _late() from error

    def _send(self, key: _Key, group: _Group) -> None:
        if self._groups.get(key) is not group:
            return  # it has gone out already, being full
        del self._groups[key]
        task = asyncio.get_running_loop().create_task(self._ask(group))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _ask(self, group: _Group) -> None:
        alive = [(r, f) for r, f in zip(group.requests, group.waiting, strict=True) if not f.done()]
        if not alive:
            return
        first = alive[0][0]
        call = None if first.call is None else Call(id=first.call.id)
        joined = EmbedRequest(
            model=first.model,
            input=tuple(text for r, _ in alive for text in r.input),
            dimensions=first.dimensions,
            user=first.user,
            strict=first.strict,
            call=call,
        )
        try:
            reply = await self.inner.embed(joined, group.deadline)
            parts = _shared_out(reply, [r for r, _ in alive])
        except SteadError as error:
            for _, future in alive:
                if not future.done():
                    future.set_exception(error)
            return
        for (request, future), part in zip(alive, parts, strict=True):
            if call is not None and request.call is not None:
                request.call.deviations.extend(call.deviations)
            if not future.done():
                future.set_result(part)

    async def close(self) -> None:
        """Let what is under way finish, and close the inner one."""
        await asyncio.gather(*self._sending)
        await self.inner.close()


def _late() -> BackendTimeout:
    return BackendTimeout(
        "deadline", "the deadline of the request passed while it waited for others"
    )


def _shared_out(reply: EmbedReply, requests: Sequence[EmbedRequest]) -> list[EmbedReply]:
    """Cut the vectors of one call into those of each request, with its share of the tokens."""
    wanted = sum(len(r.input) for r in requests)
    if len(reply.vectors) != wanted:
        raise BackendError(
            "bad-answer", f"the endpoint gave {len(reply.vectors)} vectors for {wanted} texts"
        )
    tokens = shares(reply.usage.prompt_tokens, [prompt_tokens(r) for r in requests])
    found, at = [], 0
    for request, count in zip(requests, tokens, strict=True):
        vectors = reply.vectors[at : at + len(request.input)]
        found.append(EmbedReply(model=reply.model, vectors=vectors, usage=Usage(count)))
        at += len(request.input)
    return found


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Cut a whole number into parts by weight that add up to it: largest remainders get the rest."""
    whole = sum(weights)
    even = [1] * len(weights) if whole == 0 else list(weights)
    whole = sum(even)
    parts = [total * w // whole for w in even]
    by_remainder = sorted(range(len(even)), key=lambda i: -(total * even[i] % whole))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts
