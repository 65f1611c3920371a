"""GW5: the ledger equals the vendors' invoice under faults, streamed or not, and no ceiling is passed."""

import asyncio
import random

import pytest
from msgspec.structs import replace

from stead.core.errors import BackendError, BudgetExceeded, SteadError
from stead.core.shared import Limit, MemoryShared
from stead.inference.backend import close_stream
from stead.inference.candidate import Candidate
from stead.inference.limits import Limits, Rules
from stead.inference.meter import MemoryLedger, Meter
from stead.inference.policy import make
from stead.inference.prices import Prices, picodollars
from stead.inference.purse import Ceiling, Purses
from stead.inference.remote import Remote
from stead.inference.retry import Retry, RetryPolicy
from stead.inference.route import Route
from stead.messages import Call, GenerateRequest, Message, Sampling
from tests.fakes.vendors import Fault, mock_vendor

N = 240
PRICES = (Prices.of("0.15", "0.60", cached="0.075"), Prices.of("3", "15"))


def stack(vendors, shared, rules, ledger, seed):
    """The whole way of a request, as the gateway composes it."""
    purses = Purses()
    quick = RetryPolicy(max_attempts=3, base_s=0.0005, share=10.0)
    candidates = []
    for i, (vendor, prices) in enumerate(zip(vendors, PRICES, strict=True)):
        endpoint = Ceiling(Remote(vendor.url), purses, prices)
        retry = Retry(endpoint, f"v{i}", quick, prices=prices, seed=seed)
        candidates.append(Candidate(f"v{i}", f"mock-{i}", retry, place="public", prices=prices))
    route = Route(candidates, make("ordered"))
    limits = Limits(route, shared, rules, prices=lambda _: PRICES, purses=purses)
    return Meter(limits, ledger, strategy="s")


def requests(rng, budget):
    key = Limit("daily_budget", "money", budget, None, "key k", calendar="day")
    for i in range(N):
        words = " ".join("abcdefgh"[j % 8] * 3 for j in range(rng.randint(1, 30)))
        yield GenerateRequest(
            model="v0",
            messages=(Message("user", words),),
            sampling=Sampling(max_tokens=rng.choice([4, 6, 20])),
            stream=bool(i % 2),
            call=Call(id=f"c{i}", key="k", limits=(key,)),
        )


CUTS = tuple(
    Fault(cut_after=k) for k in (0, 1, 3)
)  # whole answers are billed though nobody sees them


def faults(rng, more=()):
    """What a vendor does to its next requests; without `more` the client can know what each is billed."""
    kinds = (
        Fault(), Fault(), Fault(), Fault(status=500), Fault(status=503), Fault(status=429, retry_after="0"),
        Fault(delay_s=0.002), Fault(status=400), *more,
    )  # fmt: skip
    return [rng.choice(kinds) for _ in range(4 * N)]


async def one(backend, request):
    try:
        if not request.stream:
            return (await backend.generate(request)).text
        stream = backend.stream(request)
        try:
            return "".join([c.text async for c in stream])
        finally:
            await close_stream(stream)
    except SteadError as error:
        return error


async def campaign(seed, budget, more=()):
    rng = random.Random(seed)
    ledger, shared = MemoryLedger(), MemoryShared()
    async with mock_vendor(cached=2) as first, mock_vendor() as second:
        for vendor in (first, second):
            vendor.script(*faults(rng, more))
        backend = stack((first, second), shared, Rules(), ledger, seed)
        gate = asyncio.Semaphore(24)

        async def gated(request):
            async with gate:
                return await one(backend, request)

        asked = list(requests(rng, budget))
        results = await asyncio.gather(*map(gated, asked))
        bills = [v.cost(input=p.input, output=p.output, cached=p.cached)
                 for v, p in zip((first, second), PRICES, strict=True)]  # fmt: skip
        used = await shared.used(asked[0].call.limits[0])
        sent = len(first.invoice) + len(second.invoice)
        await backend.close()
    return ledger.entries, results, sum(bills), used, sent


@pytest.mark.parametrize("seed", [1, 2])
def test_the_ledger_equals_the_invoices_and_the_counter_the_ledger(seed):
    entries, results, bill, used, sent = asyncio.run(campaign(seed, picodollars("100")))

    assert len(entries) == N
    assert sum(e.cost for e in entries) == bill == used
    assert sum(len(e.attempts) for e in entries) == sent
    assert not any(e.estimated or e.unpriced for e in entries)
    by_kind = [{e.outcome for e in entries if e.streamed is s} for s in (False, True)]
    assert by_kind == [{"ok", "failed"}, {"ok", "failed"}]
    assert sum(isinstance(r, str) for r in results) > N / 2


@pytest.mark.parametrize("seed", [3, 4])
def test_a_ceiling_is_never_passed(seed):
    budget = picodollars("0.002")
    entries, results, bill, used, _ = asyncio.run(campaign(seed, budget, CUTS))

    assert bill <= used <= budget
    assert sum(e.cost for e in entries) <= budget
    assert used > budget / 2
    refused = [r for r in results if isinstance(r, BudgetExceeded)]
    assert refused
    assert all(isinstance(r, str | BackendError) for r in results)


def test_a_stream_cut_by_the_vendor_is_charged_for_what_came():
    words = 5

    async def go():
        ledger, shared = MemoryLedger(), MemoryShared()
        key = Limit("daily_budget", "money", picodollars("1"), None, "key k", calendar="day")
        async with mock_vendor() as first, mock_vendor() as second:
            backend = stack((first, second), shared, Rules(), ledger, 0)
            first.script(Fault(cut_after=words))
            request = GenerateRequest(
                model="v0", messages=(Message("user", "abc"),), sampling=Sampling(max_tokens=9),
                call=Call(id="c", key="k", limits=(key,)),
            )  # fmt: skip
            result = await one(backend, replace(request, stream=True))
            used = await shared.used(key)
            await backend.close()
            return ledger.entries, result, used, first.invoice[0]

    (entry,), result, used, billed = asyncio.run(go())

    assert result.code in ("stream-cut", "connection-lost")
    assert (entry.outcome, entry.estimated) == ("cut", True)
    assert (billed.prompt_tokens, billed.completion_tokens) == (1, words)
    assert used >= PRICES[0].cost(entry.usage)  # the counter leans to the safe side
    assert used >= billed.prompt_tokens * PRICES[0].input + words * PRICES[0].output
