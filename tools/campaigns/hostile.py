"""Hostile HTTP requests made from our own OpenAPI document (RELIABILITY 2.8): 0 × 5xx, nothing of us in any answer.

One server per 25,000 requests, each seeded anew. Knows nothing about routes: the document and `tests/fakes/hostile` do.
"""

import json
import random
import sys
import time
from collections import Counter

from campaign import ROOT, Order, Result

_PER_SERVER = 25_000


def run(order: Order) -> list[Result]:
    """Send 2,000, 100,000 or 1,000,000 requests."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    from tests.conftest import make_tiny_model
    from tests.fakes import hostile
    from tests.fakes.platform_server import browser, platform_server

    document = json.loads((ROOT / "ui" / "openapi.json").read_text(encoding="utf-8"))
    model = order.work / "tiny"
    model.mkdir()
    make_tiny_model(model)
    total, begun = order.count(2_000, 100_000, 1_000_000), time.monotonic()
    faults: list[str] = []
    statuses: Counter[int] = Counter()
    for number, first in enumerate(range(0, total, _PER_SERVER)):
        home = order.work / f"home-{number}"
        with platform_server(home, models={"tiny": str(model)}) as (url, platform):
            client = browser(url, platform)
            cookies = {"Cookie": f"stead_session={client.cookie}", "X-Stead-CSRF": client.csrf}
            line = hostile.Line(url, cookies)
            found, told = hostile.storm(
                line, client, document, str(model), random.Random(order.seed + number),
                min(_PER_SERVER, total - first), (str(home).encode(), client.cookie.encode()),
            )  # fmt: skip
            line.close()
        faults += found
        statuses.update(told)
    for fault in faults[:20]:
        print(fault[:1000], file=sys.stderr)
    facts = {"statuses": {str(k): v for k, v in sorted(statuses.items())}}
    return [Result("HTTP-hostile", total, len(faults), time.monotonic() - begun, facts)]
