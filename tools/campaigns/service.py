"""A whole server under pressure (RELIABILITY 2.4): in its own process, over real sockets, judged from outside.

GW6: ten times too much. GW8: a soak with faults and clients that leave. GW9: a stop with open streams, and restarts
one after the other. GW10: slow clients. Knows nothing about how the server works.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from campaign import ROOT, Order, Result


def run(order: Order) -> list[Result]:
    """Try every promise of this part."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    found = []
    for name, check in PROMISES.items():
        if order.wants(name):
            begun = time.monotonic()
            n, wrong, facts = check(order)
            if wrong:
                (order.work / f"{name}.json").write_text(json.dumps(wrong, indent=1, default=str))
            found.append(Result(name, n, len(wrong), time.monotonic() - begun, facts))
    return found


Found = tuple[int, list[Any], dict[str, Any]]


def overload(order: Order) -> Found:
    """GW6: goodput at least 90 % of the peak, refusals within 50 ms with Retry-After, well again within 2 s."""
    from tests.fakes import service_cases as cases

    return asyncio.run(cases.overload(order.work / "GW6", order.count(5, 120, 600)))


def soak(order: Order) -> Found:
    """GW8: memory flat, descriptors and threads back, ledger = what the clients were told. `n` in seconds."""
    from tests.fakes import service_cases as cases

    seconds = order.count(30, 15 * 60, 8 * 3600)
    return asyncio.run(cases.soak(order.work / "GW8", seconds, order.seed))


def stops(order: Order) -> Found:
    """GW9: in flight finish, new ones 503 and closed, nothing cut without an event; restarts that nobody sees."""
    from tests.fakes import service_cases as cases

    n, wrong, facts = asyncio.run(cases.drain(order.work / "GW9", order.count(5, 50, 500)))
    rounds = {"smoke": 2, "full": 4, "long": 20}[order.size]
    answered, failed, more = asyncio.run(cases.rolling(order.work / "rolling", rounds))
    return n + answered, wrong + failed, facts | more


def slow(order: Order) -> Found:
    """GW10: others are served as before, half-open connections end at their limits, memory stays bounded."""
    from tests.fakes import service_cases as cases

    seconds = {"smoke": 10, "full": 60, "long": 300}[order.size]
    return asyncio.run(cases.slow(order.work / "GW10", order.count(100, 1000, 1000), seconds))


PROMISES: dict[str, Callable[[Order], Found]] = {
    "GW6": overload,
    "GW8": soak,
    "GW9": stops,
    "GW10": slow,
}
