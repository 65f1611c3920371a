"""Who is not needed any more is cancelled at once: the endpoint sees its socket close within 250 ms."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.fakes import fault_catalogue as faults
from tests.fakes.gateway_cases import ASK
from tests.fakes.upstream import Upstream, upstream

from stead.inference.candidate import Candidate
from stead.inference.policy import make
from stead.inference.remote import Remote
from stead.inference.retry import Retry
from stead.inference.route import Route

CANCEL_S = 0.25


@asynccontextmanager
async def hedged(*, stream: bool) -> AsyncIterator[tuple[Route, Upstream, Upstream]]:
    """A route over an endpoint that hangs and one that answers; the second is asked after 50 ms."""
    good = faults.good("openai_chat", stream=stream)
    async with upstream([faults.HANG_S]) as slow, upstream(faults.script(good)) as quick:
        found = [
            Candidate(name, "m", Retry(Remote(up.url), name))
            for name, up in (("slow", slow), ("quick", quick))
        ]
        route = Route(found, make("ordered", hedge_after_s=0.05))
        yield route, slow, quick
        await route.close()


@pytest.mark.parametrize("stream", [False, True])
def test_the_loser_of_a_race_is_closed_within_250_ms(stream: bool) -> None:
    async def run() -> str:
        async with hedged(stream=stream) as (route, slow, _):
            if stream:
                text = "".join([c.text async for c in route.stream(ASK)])
            else:
                text = (await route.generate(ASK)).text
            async with asyncio.timeout(CANCEL_S):
                await slow.closed.wait()
            return text

    assert asyncio.run(run()) == faults.TEXT


def test_a_client_that_leaves_closes_both() -> None:
    async def run() -> None:
        async with hedged(stream=False) as (route, slow, quick):
            quick.script = [faults.HANG_S]
            task = asyncio.create_task(route.generate(ASK))
            await slow.asked.wait()
            await quick.asked.wait()
            task.cancel()
            async with asyncio.timeout(CANCEL_S):
                await slow.closed.wait()
                await quick.closed.wait()
            await asyncio.wait({task})
            assert task.cancelled()

    asyncio.run(run())
