"""Limits bind before sending, settle with what was used, and leave nothing behind."""

import asyncio
import contextlib

import pytest

from stead.core.errors import BackendError, BudgetExceeded, RateLimited
from stead.core.shared import Limit, MemoryShared
from stead.inference.backends.echo import Echo
from stead.inference.limits import Limits, Rules
from stead.inference.prices import Prices
from stead.inference.purse import Ceiling, Purses, most_cost
from stead.messages import Call, GenerateRequest, Message, Sampling, Usage

PRICES = Prices.of("1", "2")
MICRO = 10**6


def ask(text="one two three", max_tokens=3, call=None, model="echo", **more):
    return GenerateRequest(
        model=model, messages=(Message("user", text),), call=call,
        sampling=Sampling(max_tokens=max_tokens), **more,
    )  # fmt: skip


class Counted(Echo):
    """Counts what reaches it; fails with the next of `errors`."""

    def __init__(self, *errors, delay_s=0.0):
        super().__init__(delay_s=delay_s)
        self.sent, self.errors, self.requests = 0, list(errors), []

    async def generate(self, request, deadline=None):
        self.sent += 1
        self.requests.append(request)
        if self.errors:
            raise self.errors.pop(0)
        return await super().generate(request, deadline)


def limited(inner, *limits, shared=None, **rules):
    purses = Purses()
    shared = MemoryShared() if shared is None else shared
    inner = Ceiling(inner, purses, PRICES)
    made = Limits(
        inner, shared, Rules(limits, **rules), prices=lambda _: [PRICES], purses=purses,
        price_of=lambda _: PRICES,
    )  # fmt: skip
    return made, shared


async def many(backend, request, count):
    done = await asyncio.gather(
        *(backend.generate(request) for _ in range(count)), return_exceptions=True
    )
    return [d for d in done if isinstance(d, BaseException)]


def test_fifty_parallel_calls_against_a_budget_for_ten_send_ten_at_most():
    async def go():
        one = most_cost(ask(), PRICES)
        budget = Limit("daily", "money", 10 * one, calendar="day")
        inner = Counted(delay_s=0.005)
        backend, shared = limited(inner, budget)
        refused = await many(backend, ask(), 50)
        return inner.sent, refused, await shared.used(budget)

    sent, refused, used = asyncio.run(go())

    assert sent == 10
    assert len(refused) == 40
    assert all(isinstance(e, BudgetExceeded) and e.details["retry_after_s"] > 0 for e in refused)
    assert used == 10 * PRICES.cost(Usage(3, 3))


def test_requests_tokens_and_places_are_counted_per_key():
    async def go():
        shared = MemoryShared()
        backend, _ = limited(Counted(), shared=shared)
        rpm = Limit("rpm", "requests", 2, 60.0, "key a")
        tpm = Limit("tpm", "tokens", 1000, 60.0, "key a")
        call = Call(id="1", key="a", limits=(rpm, tpm))
        for _ in range(2):
            await backend.generate(ask(call=call))
        with pytest.raises(RateLimited) as caught:
            await backend.generate(ask(call=call))
        other = Limit("rpm", "requests", 2, 60.0, "key b")
        await backend.generate(ask(call=Call(id="2", key="b", limits=(other,))))
        return caught.value, await shared.used(tpm), await shared.used(other)

    error, tokens, other = asyncio.run(go())

    assert error.details["limit"] == "rpm"
    assert 59 < error.details["retry_after_s"] < 62
    assert (tokens, other) == (12, 1)


def test_an_unbilled_failure_and_a_refusal_consume_nothing():
    async def go():
        rpm = Limit("rpm", "requests", 5, 60.0)
        money = Limit("daily", "money", 10**9, calendar="day")
        inner = Counted(BackendError("upstream-overloaded", "busy", upstream_status=503))
        backend, shared = limited(inner, rpm, money)
        with pytest.raises(BackendError):
            await backend.generate(ask())
        with pytest.raises(BudgetExceeded):
            await backend.generate(ask(max_tokens=10**6))
        return await shared.used(rpm), await shared.used(money)

    assert asyncio.run(go()) == (0, 0)


def test_what_may_have_been_billed_unseen_stays_paid_for():
    async def go():
        money = Limit("daily", "money", 10**9, calendar="day")
        backend, shared = limited(Counted(BackendError("connection-lost", "gone")), money)
        with pytest.raises(BackendError):
            await backend.generate(ask())
        return await shared.used(money)

    assert asyncio.run(go()) == most_cost(ask(), PRICES)


def test_a_second_attempt_is_paid_for_or_not_sent():
    lost = BackendError("connection-lost", "gone")

    class Twice(Ceiling):
        async def generate(self, request, deadline=None):
            try:
                return await super().generate(request, deadline)
            except BudgetExceeded:
                raise
            except BackendError:
                return await super().generate(request, deadline)

    async def go(budget):
        purses, shared, inner = Purses(), MemoryShared(), Counted(lost)
        money = Limit("daily", "money", budget, calendar="day")
        backend = Limits(
            Twice(inner, purses, PRICES),
            shared,
            Rules((money,)),
            prices=lambda _: [PRICES],
            purses=purses,
        )
        with contextlib.suppress(BudgetExceeded):
            await backend.generate(ask())
        return inner.sent, await shared.used(money)

    most = most_cost(ask(), PRICES)
    assert asyncio.run(go(2 * most)) == (2, most + PRICES.cost(Usage(3, 3)))
    assert asyncio.run(go(2 * most - 1)) == (1, most)


def test_a_request_above_its_own_ceiling_is_refused_and_an_open_one_is_bounded():
    async def go():
        inner = Counted()
        backend, _ = limited(inner, max_cost=most_cost(ask(), PRICES), answer_tokens=2)
        await backend.generate(ask())
        with pytest.raises(BudgetExceeded) as caught:
            await backend.generate(ask(max_tokens=4))
        open_ended = ask(max_tokens=None, call=Call(id="1"))
        await backend.generate(open_ended)
        return caught.value, inner.requests[-1].sampling.max_tokens, open_ended.call.deviations

    error, bound, deviations = asyncio.run(go())

    assert error.code == "request-too-dear"
    assert bound == 2
    assert [d.kind for d in deviations] == ["max_tokens_set"]


def test_an_unknown_price_is_refused_under_a_budget_unless_allowed():
    async def go(allow):
        inner = Counted()
        rules = Rules((Limit("daily", "money", 1, calendar="day"),), allow_unpriced=allow)
        backend = Limits(inner, MemoryShared(), rules, prices=lambda _: [None])
        try:
            await backend.generate(ask())
        except BudgetExceeded as error:
            return error.code, inner.sent
        return "sent", inner.sent

    assert asyncio.run(go(False)) == ("unpriced", 0)
    assert asyncio.run(go(True)) == ("sent", 1)


def test_a_long_prompt_takes_the_whole_token_limit_instead_of_never_being_admitted():
    async def go():
        tpm = Limit("tpm", "tokens", 500, 60.0)
        backend, shared = limited(Counted(), tpm)
        await backend.generate(ask("word " * 149 + "word"))  # 750 bytes, 150 tokens
        with pytest.raises(RateLimited):
            await backend.generate(ask("word " * 1000))
        return await shared.used(tpm)

    assert asyncio.run(go()) == 153


def test_a_reader_who_leaves_gives_the_place_back():
    async def go():
        place = Limit("at once", "concurrency", 1)
        backend, shared = limited(Echo(), place)
        stream = backend.stream(ask("a b c d"))
        await anext(stream)
        held = await shared.used(place)
        await stream.aclose()
        return held, await shared.used(place)

    assert asyncio.run(go()) == (1, 0)


@pytest.mark.parametrize("text", ["hello", "naïve façade", "日本語のテキスト", "🙂" * 5])
def test_the_bound_of_a_prompt_is_never_below_its_bytes(text):
    from stead.inference.account import most_tokens

    assert most_tokens(ask(text)) >= len(text.encode())


def test_an_answer_that_ends_by_itself_has_no_deviation_under_a_budget():
    async def go():
        backend, _ = limited(Counted(), Limit("daily", "money", 10**15, calendar="day"))
        whole, streamed = (ask(max_tokens=None, call=Call(id=name)) for name in "ab")
        await backend.generate(whole)
        async for _chunk in backend.stream(streamed):
            pass
        return whole.call.deviations, streamed.call.deviations

    assert asyncio.run(go()) == ([], [])
