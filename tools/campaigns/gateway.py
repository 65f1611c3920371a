"""The gateway under faults (RELIABILITY 2.4, 2.5): real sockets on loopback, scripted endpoints, one judge.

GW1: requests drawn from the fault catalogue. GW3: waits kept, jitter, amplification with the endpoint down. GW4:
circuits open, admit one, recover. ST1: a stream reset at every byte. Knows nothing about how the gateway works.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from campaign import ROOT, Order, Result

_BATCH = 1000
_LATE_S = 0.05


def run(order: Order) -> list[Result]:
    """Try every promise of this part."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    found = []
    for name, check in PROMISES.items():
        if order.wants(name):
            begun = time.monotonic()
            result = check(order)
            result.seconds = time.monotonic() - begun
            found.append(result)
    return found


def _kept(order: Order, name: str, failures: list[Any]) -> None:
    """Write what failed where it can be looked at; a seed replays it."""
    if failures:
        (order.work / f"{name}.json").write_text(json.dumps(failures, indent=1, default=str))


def catalogue(order: Order) -> Result:
    """GW1: 0 wrong, doubled, missing or moved tokens; every failure typed; none past its deadline."""
    from tests.fakes import gateway_cases as cases

    n = order.count(500, 10_000, 100_000)
    first = order.seed * 10**7
    failures: list[Any] = []
    for start in range(first, first + n, _BATCH):
        seeds = range(start, min(start + _BATCH, first + n))
        failures += asyncio.run(cases.campaign(seeds))
    _kept(order, "GW1", failures)
    facts = {
        "protocols": list(cases.ROUTES),
        "faces": sorted({f for r in cases.ROUTES.values() for f in r}),
    }
    return Result("GW1", n, len(failures), facts=facts)


def resets(order: Order) -> Result:
    """ST1: the delivered text is an exact prefix, then one typed error, never a second start."""
    from tests.fakes import gateway_cases as cases

    step = {"smoke": 50, "full": 1, "long": 1}[order.size]
    variants = list(cases.VARIANTS) if order.size == "long" else ["as_is"]
    n, wrong = 0, []
    for dialect in cases.CHAT:
        size = len(cases.faults.good(dialect, stream=True).body)
        for variant in variants:
            offsets = range(0, size, step)
            n += len(offsets)
            wrong += asyncio.run(cases.reset_at(dialect, offsets, variant))
    _kept(order, "ST1", wrong)
    return Result("ST1", n, len(wrong), facts={"protocols": list(cases.CHAT), "variants": variants})


def discipline(order: Order) -> Result:
    """GW3: Retry-After kept within 50 ms; full jitter; at most 1.2 times the requests with all down."""
    n = order.count(200, 5000, 20_000)
    late, worst_s = asyncio.run(_waits(n, order.seed))
    distance, allowed = asyncio.run(_jitter(n, order.seed))
    ratio = asyncio.run(_amplification(n, breaks=True))
    bare = asyncio.run(_amplification(n, breaks=False))  # a reserve of ten retries comes on top
    failures = late + int(distance > allowed) + int(ratio > 1.2) + int(bare > 1.2 + 10 / n)
    facts = {"late": late, "worst_late_s": round(worst_s, 4), "ks": round(distance, 4),
             "ks_allowed": round(allowed, 4), "amplification": round(ratio, 3),
             "amplification_without_circuit": round(bare, 3)}  # fmt: skip
    return Result("GW3", n, failures, facts=facts)


async def _waits(n: int, seed: int) -> tuple[int, float]:
    """Ask endpoints that answer 429 once; return how many came back early or 50 ms late."""
    from tests.fakes import fault_catalogue as faults
    from tests.fakes.gateway_cases import Stood, retrying
    from tests.fakes.upstream import head, upstream

    rng = random.Random(seed)
    gate = asyncio.Semaphore(8)
    over: list[float] = []

    async def once(asked_s: float) -> float:
        times: list[float] = []
        busy = [head(status=429, length=0, extra=f"Retry-After-Ms: {asked_s * 1000:.0f}\r\n")]
        well = faults.script(faults.good("openai_chat", stream=False))

        def script(number: int) -> list[Any]:
            times.append(time.monotonic())
            return well if number else busy

        async with upstream(script) as up:
            await retrying(up.url)
        return times[1] - times[0] - asked_s

    async def one(asked_s: float, stood: Stood) -> None:
        async with gate:
            for _ in range(4):  # one during which this process stood still says nothing
                before = stood.seconds
                late = await once(asked_s)
                if late <= _LATE_S or stood.seconds - before < _LATE_S / 2:
                    break
        over.append(late)

    async with Stood() as stood:
        await asyncio.gather(*(one(rng.randrange(20, 200) / 1000, stood) for _ in range(n)))
    return sum(not -0.002 <= late <= _LATE_S for late in over), max(over)


async def _jitter(n: int, seed: int) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance of the waits from uniform, and its 1 % point."""
    from tests.fakes.gateway_cases import failing

    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    await failing(n, sleep, seed)
    shares = sorted(waits)
    pairs = enumerate(shares)
    return max(max(abs(w - i / n), abs(w - (i + 1) / n)) for i, w in pairs), 1.63 / n**0.5


async def _amplification(n: int, *, breaks: bool) -> float:
    """Return requests sent over requests asked for, against an endpoint that only fails."""
    from tests.fakes.gateway_cases import retrying
    from tests.fakes.upstream import head, upstream

    async with upstream([head(status=500, length=0)]) as up:
        await retrying(up.url, times=n, breaks=breaks)
        return up.connections / n


def circuits(order: Order) -> Result:
    """GW4: opens after 5 failures at most, half-open admits exactly 1, fails fast, recovers in a probe."""
    n = order.count(50, 1000, 10_000)
    wrong, fast = asyncio.run(_circuits(n))
    p99 = sorted(fast)[int(len(fast) * 0.99)]
    _kept(order, "GW4", wrong)
    facts = {"fast_fail_p99_s": round(p99, 6), "fast_fails": len(fast)}
    return Result("GW4", n, len(wrong) + int(p99 > 0.005), facts=facts)


async def _circuits(n: int) -> tuple[list[str], list[float]]:
    from tests.fakes.gateway_cases import circuit

    wrong, fast = [], []
    for _ in range(n):
        said, times = await circuit()
        wrong += said
        fast += times
    return wrong, fast


PROMISES: dict[str, Callable[[Order], Result]] = {
    "GW1": catalogue,
    "GW3": discipline,
    "GW4": circuits,
    "ST1": resets,
}
