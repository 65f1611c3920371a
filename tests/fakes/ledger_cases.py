"""Requests with faults through the gateway's whole way, beside the invoices of the vendors (RELIABILITY GW5)."""

import asyncio
import random

from tests.fakes.vendors import Fault, mock_vendor

from stead.core.errors import SteadError
from stead.core.shared import Limit, MemoryShared
from stead.inference.backend import close_stream
from stead.inference.candidate import Candidate
from stead.inference.limits import Limits, Rules
from stead.inference.meter import MemoryLedger, Meter
from stead.inference.policy import make
from stead.inference.prices import Prices
from stead.inference.purse import Ceiling, Purses
from stead.inference.remote import Remote
from stead.inference.retry import Retry, RetryPolicy
from stead.inference.route import Route
from stead.messages import Call, GenerateRequest, Message, Sampling

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


def requests(rng, budget, n):
    key = Limit("daily_budget", "money", budget, None, "key k", calendar="day")
    for i in range(n):
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


def faults(rng, n, more=()):
    """What a vendor does to its next requests; without `more` the client can know what each is billed."""
    kinds = (
        Fault(), Fault(), Fault(), Fault(status=500), Fault(status=503), Fault(status=429, retry_after="0"),
        Fault(delay_s=0.002), Fault(status=400), *more,
    )  # fmt: skip
    return [rng.choice(kinds) for _ in range(4 * n)]


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


async def campaign(seed, budget, more=(), n=N):
    rng = random.Random(seed)
    ledger, shared = MemoryLedger(), MemoryShared()
    async with mock_vendor(cached=2) as first, mock_vendor() as second:
        for vendor in (first, second):
            vendor.script(*faults(rng, n, more))
        backend = stack((first, second), shared, Rules(), ledger, seed)
        gate = asyncio.Semaphore(24)

        async def gated(request):
            async with gate:
                return await one(backend, request)

        asked = list(requests(rng, budget, n))
        results = await asyncio.gather(*map(gated, asked))
        bills = [v.cost(input=p.input, output=p.output, cached=p.cached)
                 for v, p in zip((first, second), PRICES, strict=True)]  # fmt: skip
        used = await shared.used(asked[0].call.limits[0])
        sent = len(first.invoice) + len(second.invoice)
        await backend.close()
    return ledger.entries, results, sum(bills), used, sent
