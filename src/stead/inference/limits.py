"""How much may be asked: requests, tokens, money and places, reserved before sending, settled after.

Knows nothing about who keeps the counters (`core/shared`) or what a key is: its limits come with the request.
A refused request has cost nothing. What is reserved is a bound from above: as many tokens as the prompt has
bytes, and the longest answer allowed. An answer without a limit gets one where money is limited, and says so.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from stead.core.shared import Ask, Limit, Shared
from stead.inference.account import CountText, PriceOf, Request, Seen, most_tokens, total
from stead.inference.backend import Backend, close_stream
from stead.inference.prices import Prices
from stead.inference.purse import ANSWER_TOKENS, Purse, Purses, most_cost, too_dear, unpriced
from stead.inference.wrapper import Wrapper
from stead.messages import (
    Attempt,
    Call,
    Chunk,
    Deviation,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    Reply,
)

PricesFor = Callable[[Request], Sequence[Prices | None]]
"""Returns the prices of every endpoint that may answer a request; None where no price is known."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every request here, beside the limits of its key.

    `max_cost` is of one request, in picodollars. `models` adds limits to single models by the name asked for.
    Without `allow_unpriced`, a limit in money refuses models whose price is unknown.
    """

    limits: tuple[Limit, ...] = ()
    models: Mapping[str, tuple[Limit, ...]] | None = None
    max_cost: int | None = None
    allow_unpriced: bool = False
    answer_tokens: int = ANSWER_TOKENS


class Limits(Wrapper):
    """`inner`, asked only within the limits of `rules` and of each request's `call.limits`.

    Raises: RateLimited, BudgetExceeded, before anything is sent.
    """

    def __init__(
        self,
        inner: Backend,
        shared: Shared,
        rules: Rules,
        *,
        prices: PricesFor | None = None,
        purses: Purses | None = None,
        price_of: PriceOf | None = None,
        count: CountText | None = None,
    ) -> None:
        super().__init__(inner)
        self._shared = shared
        self._rules = rules
        self._prices = prices
        self._purses = Purses() if purses is None else purses
        self._has_ceilings = purses is not None
        self._price_of = price_of
        self._count = count

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        if not self._is_limited(request):
            return await self.inner.generate(request, deadline)
        request = self._bounded(request)
        opened = await self._open(request)
        try:
            reply = await self.inner.generate(request, deadline)
            opened.seen.reply(reply)
            opened.done = True
            return reply
        finally:
            self._close(opened)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        opened: _Opened | None = None
        if self._is_limited(request):
            request = self._bounded(request)
            opened = await self._open(request)
        chunks = self.inner.stream(request, deadline)
        try:
            async for chunk in chunks:
                if opened is not None:
                    opened.seen.chunk(chunk)
                yield chunk
            if opened is not None:
                opened.done = True
        finally:
            try:
                await close_stream(chunks)
            finally:
                if opened is not None:
                    self._close(opened)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        if not self._is_limited(request):
            return await self.inner.embed(request, deadline)
        if request.call is None:
            request = replace(request, call=Call(id=uuid.uuid4().hex))
        opened = await self._open(request)
        try:
            reply = await self.inner.embed(request, deadline)
            opened.seen.vectors(reply)
            opened.done = True
            return reply
        finally:
            self._close(opened)

    async def close(self) -> None:
        """Close the inner one; the counters stay open for others."""
        try:
            await self.inner.close()
        finally:
            await self._shared.flush()

    def _is_limited(self, request: Request) -> bool:
        rules = self._rules
        has_own = request.call is not None and bool(request.call.limits)
        return has_own or bool(rules.limits or rules.models) or rules.max_cost is not None

    def _limits(self, request: Request) -> Iterable[Limit]:
        """Return each limit once; of two that share a counter the smaller one."""
        found: dict[str, Limit] = {}
        own = () if request.call is None else request.call.limits
        models = self._rules.models
        for limit in (
            *self._rules.limits,
            *(models.get(request.model, ()) if models else ()),
            *own,
        ):
            known = found.get(limit.id)
            if known is None or limit.amount < known.amount:
                found[limit.id] = limit
        return found.values()

    def _costs_money(self, request: Request) -> bool:
        is_money = any(limit.kind == "money" for limit in self._limits(request))
        return is_money or self._rules.max_cost is not None

    def _bounded(self, request: GenerateRequest) -> GenerateRequest:
        """Return the request with a call record, and with a longest answer where money is limited."""
        call = Call(id=uuid.uuid4().hex) if request.call is None else request.call
        if request.sampling.max_tokens is None and self._costs_money(request):
            tokens = self._rules.answer_tokens
            call.deviations.append(
                Deviation("max_tokens_set", f"max_tokens={tokens}, because a limit in money holds")
            )
            return replace(
                request, call=call, sampling=replace(request.sampling, max_tokens=tokens)
            )
        return request if request.call is call else replace(request, call=call)

    async def _open(self, request: Request) -> "_Opened":
        limits = tuple(self._limits(request))
        money = tuple(limit for limit in limits if limit.kind == "money")
        cost = self._most_cost(request) if self._costs_money(request) else 0
        asks = [Ask(limit, self._amount(limit, request, cost)) for limit in limits]
        reservation = await self._shared.reserve(asks)
        purse = Purse(
            self._shared,
            money,
            self._rules.max_cost,
            self._rules.allow_unpriced,
            reserved=cost,
            reservations=[reservation],
        )
        call = _call(request)
        seen = Seen(request, self._count)
        opened = _Opened(request, purse, seen, len(call.attempts), len(call.deviations))
        if self._costs_money(request):
            self._purses.open(request, purse)
        return opened

    def _most_cost(self, request: Request) -> int:
        """Return the most that one attempt can cost. Raises: BudgetExceeded.

        With ceilings around the endpoints, of the cheapest: a dearer one pays the difference before it is asked.
        """
        found = () if self._prices is None else self._prices(request)
        known = [p for p in found if p is not None]
        if not known and not self._rules.allow_unpriced:
            raise unpriced(request.model)
        costs = [most_cost(request, p, self._rules.answer_tokens) for p in known]
        most = self._rules.max_cost
        if most is not None and costs and min(costs) > most:
            raise too_dear(min(costs), most)
        cost = (min if self._has_ceilings else max)(costs, default=0)
        return cost if most is None else min(cost, most)

    def _amount(self, limit: Limit, request: Request, cost: int) -> int:
        if limit.kind == "money":
            return cost
        return _tokens(limit, request, self._rules.answer_tokens) if limit.kind == "tokens" else 1

    def _close(self, opened: "_Opened") -> None:
        self._purses.close(opened.request)
        sums = total(opened.sent(), opened.seen, self._price_of)
        purse = opened.purse
        purse.spent = max(purse.spent, sums.cost)
        tokens = sums.usage.total_tokens
        purse.settle(tokens, used=opened.done or bool(tokens or purse.spent))


@dataclass(slots=True)
class _Opened:
    """A request that was let in."""

    request: Request
    purse: Purse
    seen: Seen
    attempts: int  # how many its call had before
    deviations: int
    done: bool = False

    def sent(self) -> list[Attempt]:
        """Return what was sent; without a router below, what must have been."""
        call = _call(self.request)
        attempts = call.attempts[self.attempts :]
        is_kept = any(d.kind == "cache_hit" for d in call.deviations[self.deviations :])
        if attempts or is_kept or not (self.done or self.seen.begun):
            return attempts
        outcome: Literal["ok", "cut"] = "ok" if self.done else "cut"
        return [Attempt(candidate="", model=self.seen.model, outcome=outcome)]


def _call(request: Request) -> Call:
    assert request.call is not None  # noqa: S101 - made by whoever opened
    return request.call


def _tokens(limit: Limit, request: Request, answer_tokens: int) -> int:
    """Return the tokens to reserve.

    The bound of bytes is four times too high for plain English: a request that can only just be too large for the
    whole limit takes all of it instead of being refused for ever.
    """
    prompt = most_tokens(request)
    answer = 0
    if not isinstance(request, EmbedRequest):
        asked = request.sampling.max_tokens
        answer = (answer_tokens if asked is None else asked) * request.sampling.n
    if prompt + answer > limit.amount >= prompt // 4 + answer:
        return limit.amount
    return prompt + answer
