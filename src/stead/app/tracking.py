"""A Backend that knows what is at work and what has been: who asked what, tokens, money, seconds.

Knows nothing about where answers come from. Numbers are of this process and since its start.
"""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from stead.app.asking import new_call
from stead.inference.backend import Backend, close_stream
from stead.inference.wrapper import Wrapper
from stead.messages import (
    Call,
    Chunk,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    Reply,
    Usage,
)

State = Literal["waiting", "streaming"]


@dataclass(slots=True)
class Active:
    """A request at work. `started` is a time of `time.monotonic()`, `seconds` how long it takes by now."""

    id: str
    model: str
    kind: Literal["generate", "stream", "embed", "batch"]
    started: float
    state: State = "waiting"

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started


@dataclass(slots=True)
class ModelStats:
    """Sums over one model's requests; `cost` in picodollars, 0 where no price is known."""

    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    first_s: float = 0.0  # sum over streams, until the first content
    streams: int = 0
    cost: int = 0

    @property
    def mean_s(self) -> float:
        """Mean seconds of a request; 0 before the first."""
        return self.seconds / self.requests if self.requests else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Written tokens per second of work; 0 before the first."""
        return self.completion_tokens / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class Stats(ModelStats):
    """The sums over all models, and each model's own."""

    active: int = 0
    loaded: tuple[str, ...] = ()
    models: dict[str, ModelStats] = field(default_factory=dict)


class Tracked(Wrapper):
    """`inner`, watched. Usable from several loops and threads."""

    def __init__(self, inner: Backend, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(inner)
        self._clock = clock
        self._lock = threading.Lock()
        self._active: dict[int, Active] = {}
        self._models: dict[str, ModelStats] = {}

    def active(self) -> list[Active]:
        """Return the requests at work, the oldest first."""
        with self._lock:
            return list(self._active.values())

    def stats(self, loaded: Sequence[str] = ()) -> Stats:
        """Return what has been done since the start."""
        with self._lock:
            models = {name: replace(found) for name, found in self._models.items()}
            active = len(self._active)
        names = list(ModelStats.__dataclass_fields__)
        sums = {name: sum(getattr(m, name) for m in models.values()) for name in names}
        return Stats(**sums, active=active, loaded=tuple(loaded), models=models)

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        with self._work(request, "generate") as work:
            reply = await self.inner.generate(request, deadline)
            work.usage = reply.usage
            return reply

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        with self._work(request, "stream") as work:
            chunks = self.inner.stream(request, deadline)
            try:
                async for chunk in chunks:
                    work.see(chunk, self._clock)
                    yield chunk
            finally:
                await close_stream(chunks)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        with self._work(request, "embed") as work:
            reply = await self.inner.embed(request, deadline)
            work.usage = reply.usage
            return reply

    async def batch(
        self, requests: Sequence[GenerateRequest], deadline: float | None = None
    ) -> list[Reply]:
        """Answer many requests, in order; each counts as one."""
        if not requests:
            return []
        with self._work(requests[0], "batch") as work:
            replies = await self.inner.batch(requests, deadline)
            work.requests = len(requests)
            work.usage = Usage(
                sum(r.usage.prompt_tokens for r in replies),
                sum(r.usage.completion_tokens for r in replies),
            )
            work.calls = [r.call for r in requests]
            return replies

    @contextmanager
    def _work(
        self,
        request: GenerateRequest | EmbedRequest,
        kind: Literal["generate", "stream", "embed", "batch"],
    ) -> Iterator["_Work"]:
        call = new_call() if request.call is None else request.call
        begun = self._clock()
        work = _Work(Active(call.id, request.model, kind, begun), [call], len(call.attempts))
        with self._lock:
            self._active[id(work)] = work.active
        failed = True
        try:
            yield work
            failed = False
        finally:
            with self._lock:
                del self._active[id(work)]
                found = self._models.setdefault(request.model, ModelStats())
                work.add_to(found, self._clock() - begun, failed=failed)


@dataclass(slots=True)
class _Work:
    """One request at work and what it has used."""

    active: Active
    calls: list[Call | None]
    before: int = 0  # attempts that earlier requests of the same call made
    usage: Usage | None = None
    first_s: float | None = None
    requests: int = 1

    def see(self, chunk: Chunk, clock: Callable[[], float]) -> None:
        if self.first_s is None and (chunk.text or chunk.tool_calls or chunk.reasoning):
            self.first_s = clock() - self.active.started
            self.active.state = "streaming"
        if chunk.usage is not None:
            self.usage = chunk.usage

    def add_to(self, stats: ModelStats, seconds: float, *, failed: bool) -> None:
        stats.requests += self.requests
        stats.failed += int(failed)
        stats.seconds += seconds
        if self.first_s is not None:
            stats.streams += 1
            stats.first_s += self.first_s
        if self.usage is not None:
            stats.prompt_tokens += self.usage.prompt_tokens
            stats.completion_tokens += self.usage.completion_tokens
        for call in self.calls:
            if call is not None:
                stats.cost += sum(
                    a.cost for a in call.attempts[self.before :] if a.cost is not None
                )
