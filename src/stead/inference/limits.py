"""How much may be asked: requests, tokens, money and places, reserved before sending, settled after.

Knows nothing about who keeps the counters (`core/shared`) or what a key is: its limits come with the request.
A refused request has cost nothing. What is reserved is a bound from above: as many tokens as the prompt has
bytes, and the longest answer allowed. An answer without a limit gets one where money is limited, and says so.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from stead.core.ids import new_id
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

_ONES = ("requests", "concurrency")
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
        held = self._held(request)
        if held is None:
            return await self.inner.generate(request, deadline)
        is_capped = held.is_priced and request.sampling.max_tokens is None
        request = self._bounded(request, held)
        opened = await self._open(request, held)
        try:
            reply = await self.inner.generate(request, deadline)
            opened.seen.reply(reply)
            opened.done = True
            if is_capped and any(c.finish_reason == "length" for c in reply.choices):
                _note_cap(request)
            return reply
        finally:
            self._close(opened)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        opened: _Opened | None = None
        held = self._held(request)
        is_capped = False
        if held is not None:
            is_capped = held.is_priced and request.sampling.max_tokens is None
            request = self._bounded(request, held)
            opened = await self._open(request, held)
        chunks = self.inner.stream(request, deadline)
        try:
            if opened is None:
                async for chunk in chunks:
                    yield chunk
                return
            note = opened.seen.chunk
            async for chunk in chunks:
                note(chunk)
                if is_capped and chunk.finish_reason == "length":
                    _note_cap(request)
                yield chunk
            opened.done = True
        finally:
            try:
                await close_stream(chunks)
            finally:
                if opened is not None:
                    self._close(opened)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        held = self._held(request)
        if held is None:
            return await self.inner.embed(request, deadline)
        if request.call is None:
            request = replace(request, call=Call(id=new_id()))
        opened = await self._open(request, held)
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

    def _held(self, request: Request) -> "_Held | None":
        """Return what limits a request, or None when nothing does."""
        rules = self._rules
        own = () if request.call is None else request.call.limits
        limits = own
        if rules.limits or rules.models:
            models = () if rules.models is None else rules.models.get(request.model, ())
            limits = _once((*rules.limits, *models, *own))
        if not limits and rules.max_cost is None:
            return None
        money = tuple([limit for limit in limits if limit.kind == "money"])
        return _Held(limits, money, bool(money) or rules.max_cost is not None)

    def _bounded(self, request: GenerateRequest, held: "_Held") -> GenerateRequest:
        """Return the request with a call record, and with a longest answer where money is limited."""
        call = Call(id=new_id()) if request.call is None else request.call
        if request.sampling.max_tokens is None and held.is_priced:
            tokens = self._rules.answer_tokens
            return replace(
                request, call=call, sampling=replace(request.sampling, max_tokens=tokens)
            )
        return request if request.call is call else replace(request, call=call)

    async def _open(self, request: Request, held: "_Held") -> "_Opened":
        prompt = most_tokens(request)
        cost = self._most_cost(request, prompt) if held.is_priced else 0
        asks = [
            Ask(limit, 1 if limit.kind in _ONES else self._amount(limit, request, prompt, cost))
            for limit in held.limits
        ]
        reservation = await self._shared.reserve(asks)
        rules = self._rules
        purse = Purse(
            self._shared, held.money, request, prompt, rules.max_cost, rules.allow_unpriced,
            cost, 0, [reservation],
        )  # fmt: skip
        call = _call(request)
        seen = Seen(request, self._count)
        if held.is_priced:
            self._purses.open(request, purse)
        return _Opened(request, purse, seen, len(call.attempts), len(call.deviations))

    def _most_cost(self, request: Request, prompt: int) -> int:
        """Return the most that one attempt can cost. Raises: BudgetExceeded.

        With ceilings around the endpoints, of the cheapest: a dearer one pays the difference before it is asked.
        """
        found = () if self._prices is None else self._prices(request)
        answer = self._rules.answer_tokens
        costs = [most_cost(request, p, answer, prompt) for p in found if p is not None]
        if not costs:
            if self._rules.allow_unpriced:
                return 0
            raise unpriced(request.model)
        most = self._rules.max_cost
        cost = min(costs) if self._has_ceilings else max(costs)
        if most is not None and min(costs) > most:
            raise too_dear(min(costs), most)
        return cost if most is None else min(cost, most)

    def _amount(self, limit: Limit, request: Request, prompt: int, cost: int) -> int:
        if limit.kind == "money":
            return cost
        return _tokens(limit, request, prompt, self._rules.answer_tokens)

    def _close(self, opened: "_Opened") -> None:
        self._purses.close(opened.request)
        sums = total(opened.sent(), opened.seen, self._price_of)
        purse = opened.purse
        purse.spent = max(purse.spent, sums.cost)
        tokens = sums.usage.total_tokens
        purse.settle(tokens, used=opened.done or bool(tokens or purse.spent))


@dataclass(slots=True)
class _Held:
    """What limits one request."""

    limits: tuple[Limit, ...]
    money: tuple[Limit, ...]
    is_priced: bool  # by a budget, or by a ceiling of single requests


def _once(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    """Return each limit once; of two that share a counter the smaller one."""
    found: dict[str, Limit] = {}
    for limit in limits:
        known = found.get(limit.id)
        if known is None or limit.amount < known.amount:
            found[limit.id] = limit
    return tuple(found.values())


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
        if attempts or not (self.done or self.seen.begun):
            return attempts
        if any(d.kind == "cache_hit" for d in call.deviations[self.deviations :]):
            return attempts
        outcome: Literal["ok", "cut"] = "ok" if self.done else "cut"
        return [Attempt(candidate="", model=self.seen.model, outcome=outcome)]


def _note_cap(request: GenerateRequest) -> None:
    """Tell that the answer was cut where a budget, not the client, set its length."""
    tokens = request.sampling.max_tokens
    told = Deviation("max_tokens_set", f"max_tokens={tokens}, because a limit in money holds")
    _call(request).deviations.append(told)


def _call(request: Request) -> Call:
    assert request.call is not None  # noqa: S101 - made by whoever opened
    return request.call


def _tokens(limit: Limit, request: Request, prompt: int, answer_tokens: int) -> int:
    """Return the tokens to reserve.

    The bound of bytes is four times too high for plain English: a request that can only just be too large for the
    whole limit takes all of it instead of being refused for ever.
    """
    answer = 0
    if not isinstance(request, EmbedRequest):
        asked = request.sampling.max_tokens
        answer = (answer_tokens if asked is None else asked) * request.sampling.n
    if prompt + answer > limit.amount >= prompt // 4 + answer:
        return limit.amount
    return prompt + answer
