"""The money of one request over all its attempts: each is paid for in advance, or not sent.

Knows nothing about routing or why there is another attempt. `Limits` opens a purse with what it has reserved;
a `Ceiling` around each endpoint takes the most an attempt can cost out of it, and puts back what it did not.
What is short is reserved anew, or the attempt is refused.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from stead.core.errors import BackendError, BudgetExceeded, NotFound, RateLimited
from stead.core.shared import Ask, Limit, Reservation, Shared
from stead.inference.account import Request, is_usable, most_tokens
from stead.inference.backend import Backend, close_stream
from stead.inference.prices import Prices, dollars
from stead.inference.tokens import size_bytes
from stead.inference.wrapper import Wrapper
from stead.messages import (
    Chunk,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    Reply,
    Usage,
)

ANSWER_TOKENS = 4096
"""The length an answer is given when a limit in money holds and the request names none."""
CACHE_MARK = (
    "cache_control"  # in a request's extra: Anthropic's; without it nothing is written to a cache
)
_UNBILLED = frozenset({"connection-refused", "connect-timeout", "bad-url", "model-not-found", "not-supported"})  # fmt: skip


@dataclass(slots=True, eq=False)
class Purse:
    """What one request may spend, in picodollars."""

    shared: Shared
    limits: tuple[Limit, ...]  # the budgets it is under
    request: Request
    prompt: int  # tokens of that request's prompt, at most
    most: int | None = None  # of this one request; None: no ceiling of its own
    allow_unpriced: bool = False
    reserved: int = 0
    spent: int = 0  # attempts under way count with the most they can cost
    reservations: list[Reservation] = field(default_factory=list)

    def prompt_of(self, request: Request) -> int:
        """Return the most tokens a prompt can have; the request's own is not counted again."""
        known = self.request
        if request is known:
            return self.prompt
        if isinstance(request, GenerateRequest) and isinstance(known, GenerateRequest):
            is_same = request.messages is known.messages and request.prompt is known.prompt
            if is_same and request.tools is known.tools:
                return self.prompt
        return most_tokens(request)

    async def take(self, amount: int) -> None:
        """Set `amount` aside for an attempt. Raises: BudgetExceeded; then nothing was taken."""
        if self.most is not None and self.spent + amount > self.most:
            raise too_dear(self.spent + amount, self.most)
        short = self.spent + amount - self.reserved
        self.spent += amount
        if short <= 0:
            return
        self.reserved += short
        try:
            made = await self.shared.reserve([Ask(limit, short) for limit in self.limits])
        except BaseException:
            self.spent -= amount
            self.reserved -= short
            raise
        self.reservations.append(made)

    def settle(self, tokens: int, *, used: bool) -> None:
        """Count what was spent, or give all back when nothing was used; call it once, at the end."""
        first, *more = self.reservations
        if used:
            # The first one holds everything, the others only more money.
            self.shared.settle(first, {"requests": 1, "tokens": tokens, "money": self.spent})
        else:
            self.shared.release(first)
        for reservation in more:
            self.shared.release(reservation)


def too_dear(amount: int, most: int) -> BudgetExceeded:
    """Return the refusal of a request above its own ceiling."""
    return BudgetExceeded(
        "request-too-dear",
        f"this request can cost ${dollars(amount):f}; at most ${dollars(most):f} is allowed",
        limit="max_cost_per_request",
    )


def unpriced(model: str) -> BudgetExceeded:
    """Return the refusal of a model without a known price under a limit in money."""
    return BudgetExceeded(
        "unpriced", f"no price is known for {model!r}, and a limit in money holds", model=model
    )


def most_cost(
    request: Request, prices: Prices, answer_tokens: int = ANSWER_TOKENS, prompt: int | None = None
) -> int:
    """Return the most a request can cost in picodollars; without a limit its answer has `answer_tokens`.

    `prompt` is the most tokens of its prompt, where that is known.
    """
    if prompt is None:
        prompt = most_tokens(request)
    if isinstance(request, EmbedRequest):
        return prices.most(prompt, 0)
    asked = request.sampling.max_tokens
    answer = (answer_tokens if asked is None else asked) * request.sampling.n
    return prices.most(prompt, answer, writes=CACHE_MARK in request.extra)


class Purses:
    """The open purses, by call record."""

    def __init__(self) -> None:
        self._open: dict[int, Purse] = {}

    def open(self, request: Request, purse: Purse) -> None:
        """Let attempts of this request find their purse."""
        self._open[id(request.call)] = purse

    def close(self, request: Request) -> None:
        """The request is over."""
        self._open.pop(id(request.call), None)

    def find(self, request: Request) -> Purse | None:
        """Return the purse of a request, or None: no limit in money holds."""
        return self._open.get(id(request.call))


class _Paid:
    """One attempt: pays in advance, and takes back what it did not cost, as `with` ends or by `end`."""

    __slots__ = ("_most", "_prices", "_purse", "_request", "answer_bytes", "usage")

    def __init__(self, purse: Purse, prices: Prices, most: int, request: Request) -> None:
        self._purse = purse
        self._prices = prices
        self._most = most
        self._request = request
        self.usage: Usage | None = None
        self.answer_bytes = 0  # of a stream, so far: at least as many as its tokens

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        self.end(error)

    def chunk(self, chunk: Chunk) -> None:
        """Note a piece of a stream."""
        self.answer_bytes += size_bytes(chunk.text)
        if chunk.reasoning:
            self.answer_bytes += size_bytes(chunk.reasoning)
        for call in chunk.tool_calls:
            self.answer_bytes += size_bytes(call.arguments)
        if chunk.usage is not None:
            self.usage = chunk.usage

    def end(self, error: BaseException | None) -> None:
        """Settle the attempt. What may have been billed unseen stays paid for in full."""
        self._purse.spent += self._cost(error) - self._most

    def _cost(self, error: BaseException | None) -> int:
        if error is None and self.usage is not None and is_usable(self.usage):
            return self._prices.cost(self.usage)
        if self.answer_bytes:
            prompt = self._purse.prompt_of(self._request)
            request = self._request
            writes = isinstance(request, GenerateRequest) and CACHE_MARK in request.extra
            most = self._prices.most(prompt, self.answer_bytes, writes=writes)
            return min(self._most, most)
        return 0 if error is not None and is_unbilled(error) else self._most


def is_unbilled(error: BaseException) -> bool:
    """Say whether an endpoint has refused before any work, which no vendor charges for."""
    if isinstance(error, RateLimited | NotFound):
        return True
    is_answered = isinstance(error, BackendError) and error.code.startswith("upstream-")
    return is_answered or (isinstance(error, BackendError) and error.code in _UNBILLED)


class Ceiling(Wrapper):
    """One endpoint, with every attempt paid for from the request's purse. Stands inside the retry loop."""

    def __init__(
        self,
        inner: Backend,
        purses: Purses,
        prices: Prices | None,
        *,
        answer_tokens: int = ANSWER_TOKENS,
    ) -> None:
        super().__init__(inner)
        self._purses = purses
        self._prices = prices
        self._answer_tokens = answer_tokens

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole. Raises: BudgetExceeded before anything is sent."""
        paid = await self._pay(request)
        if paid is None:
            return await self.inner.generate(request, deadline)
        with paid:
            reply = await self.inner.generate(request, deadline)
            paid.usage = reply.usage
            return reply

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece. Raises: BudgetExceeded before anything is sent."""
        paid = await self._pay(request)
        chunks = self.inner.stream(request, deadline)
        failed: BaseException | None = None
        try:
            async for chunk in chunks:
                if paid is not None:
                    paid.chunk(chunk)
                yield chunk
        except BaseException as error:
            failed = error
            raise
        finally:
            try:
                await close_stream(chunks)
            finally:
                if paid is not None:
                    paid.end(failed)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors. Raises: BudgetExceeded before anything is sent."""
        paid = await self._pay(request)
        if paid is None:
            return await self.inner.embed(request, deadline)
        with paid:
            reply = await self.inner.embed(request, deadline)
            paid.usage = reply.usage
            return reply

    async def _pay(self, request: Request) -> _Paid | None:
        purse = self._purses.find(request)
        if purse is None:
            return None
        if self._prices is None:
            if purse.allow_unpriced:
                return None
            raise unpriced(request.model)
        prompt = purse.prompt_of(request)
        most = most_cost(request, self._prices, self._answer_tokens, prompt)
        await purse.take(most)
        return _Paid(purse, self._prices, most, request)
