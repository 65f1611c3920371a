"""The one retry loop: attempts at one endpoint, waits between them, and a record of each.

Knows nothing about other endpoints or protocols. Nothing else in stead asks twice: engines, `core/http`
and callers have their retries off.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from stead.core import seeds
from stead.core.errors import BackendError, BackendTimeout, RateLimited, SteadError
from stead.inference.attempts import Try
from stead.inference.backend import Backend
from stead.inference.breaker import Breaker
from stead.inference.candidate import Priced
from stead.inference.opening import Opened, opened
from stead.inference.wrapper import Wrapper
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, Reply

T = TypeVar("T")
Request = GenerateRequest | EmbedRequest
_STATUSES = frozenset({408, 409, 425, 429})  # and every 5xx
_CODES = frozenset(
    {
        "connection-refused", "connection-lost", "connect-timeout", "first-byte-timeout",
        "between-bytes-timeout", "attempt-timeout", "stream-cut",
    }
)  # fmt: skip
_ANSWERS = frozenset({"upstream-refused", "model-not-found", "rate-limited"})  # of a healthy one
_NONSENSE = frozenset(
    {"bad-answer", "answer-too-large", "encoded-answer", "event-too-large", "no-content"}
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when to ask again.

    The wait before attempt k + 1 is uniform in 0 … min(`max_backoff_s`, `base_s` × `backoff_multiplier`^(k-1))
    ("full jitter"), or exactly what the endpoint asks for. A wait longer than `longest_wait_s` or than the
    deadline leaves is not begun. `attempt_s` bounds each attempt, of a stream until its first content. `share` of all requests may be
    retries in the long run, and `reserve` at once.
    """

    max_attempts: int = 3
    backoff_multiplier: float = 2.0
    max_backoff_s: float = 30.0
    base_s: float = 0.5
    longest_wait_s: float = 60.0
    attempt_s: float | None = None
    share: float = 0.2
    reserve: float = 10.0


class Budget:
    """A token bucket that every request fills a little and every retry empties by one."""

    def __init__(self, share: float, reserve: float) -> None:
        self._share = share
        self._most = reserve
        self._held = reserve

    def request(self) -> None:
        """Count a request."""
        self._held = min(self._most, self._held + self._share)

    def take(self) -> bool:
        """Take one retry if there is one."""
        if self._held < 1:
            return False
        self._held -= 1
        return True


def retryable(error: SteadError) -> bool:
    """Say whether the same endpoint may answer next time: it was not reached, busy, or broke off."""
    if isinstance(error, RateLimited):
        return error.code == "rate-limited"  # another code is a limit of our own
    status = error.details.get("upstream_status")
    if isinstance(status, int):
        return status in _STATUSES or 500 <= status < 600
    return isinstance(error, BackendError) and error.code in _CODES


class Retry(Wrapper):
    """`inner`, asked again where that can help and only before the first content byte.

    Each try is an `Attempt` in `request.call`, called `name`, from its start on. `breaker` is told of each.
    The last error is raised as it came.
    """

    def __init__(
        self,
        inner: Backend,
        name: str,
        policy: RetryPolicy | None = None,
        breaker: Breaker | None = None,
        *,
        prices: Priced | None = None,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(inner)
        self.name = name
        self._policy = RetryPolicy() if policy is None else policy
        self.breaker = Breaker(name, clock=clock) if breaker is None else breaker
        self._prices = prices
        self._budget = Budget(self._policy.share, self._policy.reserve)
        self._seed = seed
        self._waits = 0
        self._clock = clock
        self._sleep = sleep

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""

        async def once(limit: float | None, tried: Try) -> Reply:
            reply = await self.inner.generate(request, limit)
            tried.replied(reply)
            return reply

        return await self._until(request, deadline, once)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""

        async def once(limit: float | None, tried: Try) -> EmbedReply:
            reply = await self.inner.embed(request, limit)
            tried.embedded(reply)
            return reply

        return await self._until(request, deadline, once)

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt."""

        async def once(limit: float | None, tried: Try) -> int:
            tokens = await self.inner.count(request, limit)
            tried.counted()
            return tokens

        return await self._until(request, deadline, once)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece; nothing is given out before the first content."""
        tries: list[Try] = []

        async def once(_: float | None, tried: Try) -> Opened:
            found = await self._opened(request, deadline)
            tried.began(found.head)
            tries.append(tried)
            return found

        begun = await self._until(request, deadline, once)
        tried = tries[-1]
        try:
            for chunk in begun.head:
                yield chunk
            async for chunk in begun.rest:
                tried.chunk(chunk)
                yield chunk
            tried.streamed()
        except SteadError as error:
            tried.cut(error)
            self._judge(error)
            raise
        finally:
            tried.left()
            await begun.close()

    async def _opened(self, request: GenerateRequest, deadline: float | None) -> Opened:
        """Begin a stream. An attempt's time ends with its first content: answers may be long."""
        try:
            async with asyncio.timeout(self._policy.attempt_s):
                return await opened(self.inner.stream(request, deadline))
        except TimeoutError as error:
            raise self._late() from error

    async def _until(
        self,
        request: Request,
        deadline: float | None,
        once: Callable[[float | None, Try], Awaitable[T]],
    ) -> T:
        """Try until there is an answer, or no reason to try again."""
        self._budget.request()
        self.breaker.enter()
        number = 1
        while True:
            tried = Try(self.name, request, self._prices, self._clock)
            try:
                result = await once(self._limit(deadline), tried)
            except SteadError as found:
                error = self._own(found, deadline)
                tried.failed(error)
                self._judge(error)
                if not await self._again(error, number, deadline):
                    if error is found:
                        raise
                    raise error from found
            except BaseException:
                tried.left()
                self.breaker.released()
                raise
            else:
                self.breaker.succeeded()
                return result
            number += 1

    def _limit(self, deadline: float | None) -> float | None:
        """Return the time at which an attempt begun now has to end."""
        if self._policy.attempt_s is None:
            return deadline
        own = self._clock() + self._policy.attempt_s
        return own if deadline is None else min(own, deadline)

    def _own(self, error: SteadError, deadline: float | None) -> SteadError:
        """Tell the end of the attempt's own time from the end of the request's."""
        if self._policy.attempt_s is None or error.code != "deadline":
            return error
        if deadline is not None and self._clock() >= deadline:
            return error
        return self._late()

    def _late(self) -> BackendTimeout:
        limit_s = self._policy.attempt_s
        return BackendTimeout("attempt-timeout", f"{self.name} took longer than {limit_s} s")

    def _judge(self, error: SteadError) -> None:
        """Tell the breaker. A refusal of this one request says nothing against the endpoint."""
        if error.code in _ANSWERS:
            self.breaker.succeeded()
        elif "upstream_status" in error.details or error.code in _CODES | _NONSENSE:
            self.breaker.failed()
        else:  # a limit of ours, the deadline, an engine that is not there: nothing was learnt
            self.breaker.released()

    async def _again(self, error: SteadError, number: int, deadline: float | None) -> bool:
        """Wait for the next attempt and enter it; False when there is none."""
        if number >= self._policy.max_attempts or not retryable(error):
            return False
        wait_s = self._wait_s(error, number)
        if wait_s > self._policy.longest_wait_s or self.breaker.state != "closed":
            return False
        if deadline is not None and self._clock() + wait_s >= deadline:
            return False
        if not self._budget.take():
            return False
        await self._sleep(wait_s)
        return self.breaker.state == "closed"  # others may have opened it meanwhile

    def _wait_s(self, error: SteadError, number: int) -> float:
        asked = error.details.get("retry_after_s")
        if isinstance(asked, int | float):
            return float(asked)
        policy = self._policy
        top = min(policy.max_backoff_s, policy.base_s * policy.backoff_multiplier ** (number - 1))
        self._waits += 1
        return top * seeds.stream(self._seed, self._waits, f"retry-{self.name}") / 2**63
