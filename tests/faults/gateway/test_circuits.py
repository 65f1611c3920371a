"""Retries and circuits over real sockets and real time, few of each; the campaign has the numbers."""

import asyncio

from tests.fakes.gateway_cases import circuit, retrying
from tests.fakes.upstream import head, upstream


def test_an_endpoint_that_is_down_is_asked_at_most_a_fifth_more_often() -> None:
    async def run() -> int:
        async with upstream([head(status=500, length=0)]) as up:
            await retrying(up.url, times=200)
            return up.connections

    assert asyncio.run(run()) <= 1.2 * 200


def test_a_circuit_opens_admits_one_and_recovers() -> None:
    for _ in range(3):
        wrong, refusals = asyncio.run(circuit())

        assert wrong == []
        assert len(refusals) == 15 + 19 + 19
