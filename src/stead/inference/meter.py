"""Outermost but for the hooks: one ledger entry per request, whatever came of it, streamed or not.

Knows nothing about databases; a `Ledger` takes an entry without waiting. Attempts are written by whoever
sends them; where nobody did (a single endpoint without routing), the meter writes one.
"""

import asyncio
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import Literal

import msgspec
from msgspec.structs import replace

from stead.core.errors import SteadError
from stead.core.ids import new_id
from stead.inference.account import CountText, PriceOf, Request, Seen, total
from stead.inference.backend import Backend, close_stream
from stead.inference.wrapper import Wrapper
from stead.messages import (
    Attempt,
    Call,
    Chunk,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    Reply,
    Usage,
)

Outcome = Literal["ok", "failed", "cancelled", "cut"]
CACHE_HIT = "cache_hit"
"""Kind of the deviation that says: nothing was sent, the answer was kept from before."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One request in the ledger. Units: `at` Unix seconds, `cost` picodollars, durations seconds.

    `cost` adds up all attempts, failed ones too; those whose price is unknown are counted in `unpriced`.
    """

    id: str
    call: str  # id of the call; several requests may share one
    at: float
    key: str
    strategy: str
    model: str  # as asked for
    served: str  # the candidate, or else the model, that answered; "" if none did
    kind: Literal["generate", "embed"]
    streamed: bool
    outcome: Outcome
    code: str | None = None  # of the error
    usage: Usage = Usage()  # of all attempts
    cost: int = 0
    unpriced: int = 0
    estimated: bool = False
    cached: bool = False
    seconds: float = 0.0
    first_s: float | None = None
    attempts: tuple[Attempt, ...] = ()
    tags: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()  # their kinds


class Ledger(ABC):
    """Where entries go. `record` never waits; `ready` refuses new requests while it is behind."""

    @abstractmethod
    def record(self, entry: Entry) -> None:
        """Take an entry; it is written soon, and at the latest by `flush` or `close`."""

    def ready(self) -> None:
        """Return if another request can be recorded. Raises: ResourceError("ledger-behind"), status 503."""
        return

    async def flush(self) -> None:
        """Return when what was recorded so far is written, or the place for it stays away too long."""
        return

    async def close(self) -> None:
        """Write what is left; called once, by whoever made the ledger. Safe to call twice."""
        return


class MemoryLedger(Ledger):
    """Keeps entries in a list: for one-off use from Python, and for tests."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def record(self, entry: Entry) -> None:
        """Take an entry."""
        self.entries.append(entry)


class _Run:
    """One request on its way; `with` around a whole answer ends it as the block ends."""

    __slots__ = (
        "attempts",
        "began",
        "call",
        "code",
        "deviations",
        "first_s",
        "meter",
        "origin",
        "outcome",
        "seen",
        "streamed",
    )  # fmt: skip

    def __init__(
        self, meter: "Meter", call: Call, origin: Call, seen: Seen, *, streamed: bool
    ) -> None:
        self.meter = meter
        self.call = call
        self.origin = origin  # the edge's record; another object while requests share it
        self.attempts = len(call.attempts)
        self.deviations = len(call.deviations)
        self.seen = seen
        self.streamed = streamed
        self.began = time.monotonic()
        self.first_s: float | None = None
        self.outcome: Outcome = "cancelled"
        self.code: str | None = None

    def __enter__(self) -> "_Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if error is None:
            self.outcome = "ok"
        else:
            self.fail(error)
        self.meter.end(self)

    def fail(self, error: BaseException) -> None:
        """Note how it ended."""
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return
        self.outcome = "cut" if self.seen.begun else "failed"
        self.code = error.code if isinstance(error, SteadError) else type(error).__name__


class Meter(Wrapper):
    """`inner`, with one entry per request in `ledger`.

    `price_of` prices attempts that nobody has priced; `count` counts the tokens of a text where the
    endpoint reports none (default: four bytes each), and such an entry says `estimated`.
    """

    def __init__(
        self,
        inner: Backend,
        ledger: Ledger,
        *,
        strategy: str = "",
        price_of: PriceOf | None = None,
        count: CountText | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(inner)
        self._ledger = ledger
        self._strategy = strategy
        self._price_of = price_of
        self._count = count
        self._clock = clock
        self._prefix = new_id()  # ids of one process, without asking for randomness each time
        self._numbers = itertools.count()
        self._shared: set[int] = set()  # records in use

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        with self._begin(request) as run:
            if run.call is not request.call:
                request = replace(request, call=run.call)
            reply = await self.inner.generate(request, deadline)
            run.seen.reply(reply)
            return reply

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        run = self._begin(request, streamed=True)
        if run.call is not request.call:
            request = replace(request, call=run.call)
        chunks: AsyncIterator[Chunk] | None = None
        seen = run.seen
        try:
            chunks = self.inner.stream(request, deadline)
            async for chunk in chunks:
                seen.chunk(chunk)
                if run.first_s is None and seen.begun:
                    run.first_s = time.monotonic() - run.began
                yield chunk
            run.outcome = "ok"
        except BaseException as error:
            run.fail(error)
            raise
        finally:
            try:
                if chunks is not None:
                    await close_stream(chunks)
            finally:
                self.end(run)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        with self._begin(request) as run:
            if run.call is not request.call:
                request = replace(request, call=run.call)
            reply = await self.inner.embed(request, deadline)
            run.seen.vectors(reply)
            return reply

    async def close(self) -> None:
        """Close the inner one, then write what is left; the ledger stays open for others."""
        try:
            await self.inner.close()
        finally:
            await self._ledger.flush()

    def _begin(self, request: Request, *, streamed: bool = False) -> _Run:
        self._ledger.ready()
        origin = Call(id=new_id()) if request.call is None else request.call
        call = origin
        if id(origin) in self._shared:  # several prompts of one body: whose attempt is whose?
            call = replace(origin, attempts=[], deviations=[])
        self._shared.add(id(call))
        return _Run(self, call, origin, Seen(request, self._count), streamed=streamed)

    def end(self, run: _Run) -> None:
        """Write a request's entry; called once, when it is over."""
        call = run.call
        self._shared.discard(id(call))
        declared = tuple([d.kind for d in call.deviations[run.deviations :]])
        is_hit = CACHE_HIT in declared
        if len(call.attempts) == run.attempts and run.outcome != "failed" and not is_hit:
            call.attempts.append(self._attempt(run))
        attempts = call.attempts[run.attempts :]
        self._ledger.record(self._entry(run, attempts, declared))
        if call is not run.origin:
            run.origin.attempts.extend(attempts)
            run.origin.deviations.extend(call.deviations)

    @staticmethod
    def _attempt(run: _Run) -> Attempt:
        return Attempt(
            candidate="",
            model=run.seen.model,
            seconds=time.monotonic() - run.began,
            first_s=run.first_s,
            outcome=run.outcome,
            code=run.code,
        )

    def _entry(self, run: _Run, attempts: list[Attempt], declared: tuple[str, ...]) -> Entry:
        sums = total(attempts, run.seen, self._price_of)
        request, call = run.seen.request, run.call
        served = ""
        if run.outcome == "ok" and attempts:
            served = attempts[-1].candidate if attempts[-1].candidate else attempts[-1].model
        return Entry(
            id=f"{self._prefix}-{next(self._numbers)}",
            call=call.id,
            at=self._clock(),
            key=call.key,
            strategy=self._strategy,
            model=request.model,
            served=served,
            kind="embed" if isinstance(request, EmbedRequest) else "generate",
            streamed=run.streamed,
            outcome=run.outcome,
            code=run.code,
            usage=sums.usage,
            cost=sums.cost,
            unpriced=sums.unpriced,
            estimated=sums.estimated,
            cached=CACHE_HIT in declared,
            seconds=time.monotonic() - run.began,
            first_s=run.first_s,
            attempts=tuple(attempts),
            tags=tuple(sorted(call.tags)),
            deviations=declared,
        )
