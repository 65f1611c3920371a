"""One entry per request, whatever came of it."""

import asyncio

import pytest

from stead.core.errors import BackendError
from stead.inference.backends.echo import Echo
from stead.inference.meter import MemoryLedger, Meter
from stead.inference.prices import Prices
from stead.messages import (
    Attempt,
    Call,
    Chunk,
    EmbedRequest,
    GenerateRequest,
    Message,
    Usage,
)

PRICES = Prices.of("1", "2")
MICRO = 10**6  # picodollars per token at one dollar per million


def ask(text="one two three", call=None, **more):
    return GenerateRequest(model="echo", messages=(Message("user", text),), call=call, **more)


class Script(Echo):
    """Streams what it is told; an exception in the script is raised."""

    def __init__(self, *script, attempts=()):
        super().__init__()
        self.script, self.attempts, self.closed = script, attempts, False

    async def stream(self, request, deadline=None):
        request.call.attempts.extend(self.attempts)
        try:
            for step in self.script:
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.closed = True


def chunk(text="", **more):
    return Chunk(id="1", model="m", created=1, text=text, **more)


def metered(backend, **options):
    ledger = MemoryLedger()
    return Meter(backend, ledger, price_of=lambda _: PRICES, **options), ledger


async def read(stream):
    return "".join([c.text async for c in stream])


def test_streamed_and_not_streamed_are_the_same_entry():
    async def go():
        meter, ledger = metered(Echo(), strategy="s")
        call = Call(id="c", key="k", tags=frozenset({"urgent"}))
        await meter.generate(ask(call=call))
        await read(meter.stream(ask(call=call)))
        await meter.embed(EmbedRequest(model="echo", input=("a b", "c")))
        return ledger.entries, call

    (whole, streamed, vectors), call = asyncio.run(go())

    assert (whole.usage, whole.cost) == (streamed.usage, streamed.cost) == (Usage(3, 3), 9 * MICRO)
    assert (whole.call, whole.key, whole.strategy, whole.tags) == ("c", "k", "s", ("urgent",))
    assert (whole.streamed, streamed.streamed) == (False, True)
    assert streamed.first_s is not None
    assert (vectors.kind, vectors.usage, vectors.cost) == ("embed", Usage(3), 3 * MICRO)
    assert len(call.attempts) == 2


def test_a_cut_stream_counts_what_came_and_says_that_it_is_an_estimate():
    async def go():
        error = BackendError("stream-cut", "it stopped")
        meter, ledger = metered(
            Script(chunk("a b "), chunk("c"), error), count=lambda t: len(t.split())
        )
        with pytest.raises(BackendError):
            await read(meter.stream(ask()))
        return ledger.entries

    (entry,) = asyncio.run(go())

    assert (entry.outcome, entry.code, entry.estimated) == ("cut", "stream-cut", True)
    assert (entry.usage, entry.cost) == (Usage(3, 3), 9 * MICRO)


def test_a_reader_who_leaves_is_charged_for_what_was_made():
    async def go():
        inner = Script(chunk("a "), chunk("b "), chunk("c", finish_reason="stop"))
        meter, ledger = metered(inner, count=lambda t: len(t.split()))
        stream = meter.stream(ask())
        await anext(stream)
        await stream.aclose()
        assert inner.closed
        return ledger.entries

    (entry,) = asyncio.run(go())

    assert (entry.outcome, entry.usage) == ("cancelled", Usage(3, 1))


def test_attempts_of_a_router_are_added_up_and_refusals_cost_nothing():
    tried = [
        Attempt(candidate="a", model="m", outcome="failed", code="upstream-overloaded"),
        Attempt(candidate="b", model="m", outcome="cancelled", usage=Usage(5, 1), cost=7),
        Attempt(candidate="c", model="m", outcome="ok", usage=Usage(5, 2), cost=9),
    ]

    async def go():
        meter, ledger = metered(Script(chunk("x", finish_reason="stop"), attempts=tried))
        await read(
            meter.stream(
                ask(call=Call(id="c", attempts=[Attempt(candidate="old", model="m", cost=99)]))
            )
        )
        return ledger.entries

    (entry,) = asyncio.run(go())

    assert (entry.cost, entry.usage, entry.served) == (16, Usage(10, 3), "c")
    assert [a.candidate for a in entry.attempts] == ["a", "b", "c"]
    assert entry.attempts[0].cost is None


def test_two_prompts_of_one_body_do_not_share_attempts():
    async def go():
        meter, ledger = metered(Echo(delay_s=0.001))
        call = Call(id="c")
        await meter.batch([ask("a", call), ask("b c", call)])
        return ledger.entries, call

    entries, call = asyncio.run(go())

    assert sorted(e.usage.prompt_tokens for e in entries) == [1, 2]
    assert all(len(e.attempts) == 1 for e in entries)
    assert len(call.attempts) == 2


def test_an_unreported_usage_is_estimated_and_an_unknown_price_is_said():
    async def go():
        ledger = MemoryLedger()
        meter = Meter(Script(chunk("12345678", finish_reason="stop")), ledger)
        await read(meter.stream(ask("1234")))
        return ledger.entries

    (entry,) = asyncio.run(go())

    assert (entry.usage, entry.estimated) == (Usage(1, 2), True)
    assert (entry.cost, entry.unpriced) == (0, 1)
