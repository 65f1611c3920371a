"""The ledger and the limits (RELIABILITY 2.4): real sockets, real processes, the vendors' own invoices as judge.

GW2: limits exact among two processes. GW5: ledger = invoices, ceilings never passed. Knows nothing about how
either is kept.
"""

import asyncio
import subprocess
import sys
import time
from typing import Any

from campaign import ROOT, Order, Result

_BATCH = 500
_CLIENTS = 64

_CHILD = """
import asyncio, sys
from stead.core.errors import SteadError
from stead.core.shared import Ask, Limit
from stead.store.db import Database
from stead.store.migrate import migrate
from stead.store.shared_sql import SharedSQL

async def main(url, tries, amount):
    database = Database(url)
    migrate(database)
    shared = SharedSQL(database)
    rate = Limit("rate", "requests", amount, 86400.0, "campaign")
    money = Limit("money", "money", 10 * amount, None, "campaign")
    asks, let_in = [Ask(rate, 1), Ask(money, 10), Ask(Limit("at once", "concurrency", 50), 1)], 0

    async def client():
        nonlocal let_in
        for _ in range(tries // 64):
            try:
                made = await shared.reserve(asks)
            except SteadError as error:
                await asyncio.sleep(0.001 if error.code == "too-many-at-once" else 0)
                continue
            shared.settle(made, {"requests": 1, "money": 10})
            let_in += 1

    await asyncio.gather(*(client() for _ in range(64)))
    await shared.close()
    database.close()
    print(let_in)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


def run(order: Order) -> list[Result]:
    """Try every promise of this part."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    found = []
    for name, check in {"GW2": limits, "GW5": invoices}.items():
        if order.wants(name):
            begun = time.monotonic()
            result = check(order)
            result.seconds = time.monotonic() - begun
            found.append(result)
    return found


def limits(order: Order) -> Result:
    """GW2: two processes of 64 clients let in exactly as many as allowed: not one more, not one less."""
    n = order.count(5_000, 100_000, 1_000_000)
    amount = n // 4
    url = f"sqlite:///{order.work / 'limits.db'}"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, url, str(n), str(amount)],
            stdout=subprocess.PIPE, text=True, env=order.env,
        )
        for _ in range(2)
    ]  # fmt: skip
    let_in = sum(int(child.communicate()[0]) for child in children)
    facts = {"allowed": amount, "let_in": let_in, "clients": 2 * _CLIENTS}
    return Result("GW2", 2 * n, abs(let_in - amount), facts=facts)


def invoices(order: Order) -> Result:
    """GW5: ledger = invoices to the picodollar, streamed or not; with cut answers, never above the ceiling."""
    from tests.fakes import ledger_cases as cases

    from stead.inference.prices import picodollars

    n = order.count(500, 10_000, 100_000)
    failures, facts = 0, {"picodollars": 0, "attempts": 0}
    for i in range(max(1, n // _BATCH)):
        seed = order.seed * 10**6 + i
        # Every second batch has answers that are billed unseen, and a budget that does not last.
        is_short = bool(i % 2)
        budget = picodollars("0.003" if is_short else "100")
        more: tuple[Any, ...] = cases.CUTS if is_short else ()
        entries, _, bill, used, sent = asyncio.run(cases.campaign(seed, budget, more, _BATCH))
        spent = sum(e.cost for e in entries)
        is_right = bill <= used <= budget if is_short else spent == bill == used
        failures += 0 if is_right and len(entries) == _BATCH else 1
        facts["picodollars"] += bill
        facts["attempts"] += sent
    return Result("GW5", max(1, n // _BATCH) * _BATCH, failures, facts=facts)
