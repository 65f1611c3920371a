"""Opening a strategy by name or file."""

import asyncio

import pytest
from tests.fakes.strategies import ask
from tests.fakes.vendors import Fault, mock_vendor

import stead
from stead.app import strategies
from stead.app.database import open_database
from stead.core.errors import SteadError
from stead.store.spend import Spend


async def test_a_daily_budget_outlives_the_process_that_spent_it(home, tmp_path):
    """Each opening stands for a process: what one has spent, the next one finds."""
    path = tmp_path / "s.yaml"
    answered, codes = 0, set()
    async with mock_vendor(length=50) as vendor:
        path.write_text(
            "strategies:\n  - name: s\n    components:\n      cloud_api:\n        type: openai\n"
            f"        config: {{api_key: k-12345678, base_url: '{vendor.url}', default_model: gpt-4o}}\n"
            "    constraints: {daily_budget: 0.002}\n"
        )
        for _ in range(8):
            backend, strategy = strategies.open(path, home)
            try:
                await backend.generate(ask(max_tokens=50))
                answered += 1
            except SteadError as error:
                codes.add(error.code)
            finally:
                await backend.close()

    # An answer costs 50 tokens at $10 per million and its prompt: 2/1000 dollars buy three.
    assert (strategy.name, answered, codes) == ("s", 3, {"budget-exceeded"})
    assert len(vendor.invoice) == 3


@pytest.mark.spec("004-011", "004-024")
async def test_what_the_gateway_asks_of_a_strategy_is_in_the_ledger_without_a_budget(
    home, tmp_path
):
    path = tmp_path / "s.yaml"
    async with mock_vendor(length=50) as vendor:
        path.write_text(
            "strategies:\n  - name: s\n    components:\n      cloud_api:\n        type: openai\n"
            f"        config: {{api_key: k-12345678, base_url: '{vendor.url}', default_model: gpt-4o}}\n"
        )
        async with stead.Gateway(strategy=path, home=home) as g:
            reply = await g.generate("hello there", max_tokens=10, tags=["a"])
            [chunk async for chunk in g.stream("hello", max_tokens=20)]
            stats = g.stats()
    database = open_database(home)
    try:
        entries = Spend(database).entries()
    finally:
        database.close()

    assert sorted((e.usage.completion_tokens, e.streamed) for e in entries) == [
        (10, False),
        (20, True),
    ]
    assert {e.strategy for e in entries} == {"s"}
    assert reply.model == "gpt-4o"  # nobody named one
    streamed = next(e for e in entries if e.streamed)
    assert 0 < streamed.first_s <= streamed.seconds
    assert stats.tokens_per_s > 0 < stats.mean_s
    assert sum(e.cost for e in entries) == sum(  # gpt-4o: $2.50 and $10 per million
        b.prompt_tokens * 2_500_000 + b.completion_tokens * 10_000_000 for b in vendor.invoice
    )


@pytest.mark.spec("004-003", "004-062", "000-090")
async def test_ten_requests_are_at_work_at_once(home, tmp_path):
    path = tmp_path / "s.yaml"
    async with mock_vendor(always=Fault(delay_s=0.5)) as vendor:
        path.write_text(
            "strategies:\n  - name: s\n    components:\n      cloud_api:\n        type: openai\n"
            f"        config: {{api_key: k-12345678, base_url: '{vendor.url}', default_model: gpt-4o}}\n"
        )
        async with stead.Gateway(strategy=path, home=home) as g:
            await g.load()
            asked = [asyncio.create_task(g.generate(f"w{i}", max_tokens=2)) for i in range(10)]
            async with asyncio.timeout(20):
                while len(vendor.invoice) < 10:  # noqa: ASYNC110 - the vendor tells by its list
                    await asyncio.sleep(0.01)
            answered = sum(task.done() for task in asked)
            active = len(g.active())
            texts = [reply.text for reply in await asyncio.gather(*asked)]

    assert (answered, active) == (0, 10)
    assert texts == [f"w{i}0 w{i}1" for i in range(10)]


@pytest.mark.spec("000-069")
async def test_a_use_case_opens_its_first_strategy(home):
    backend, strategy = strategies.open("production", home)
    await backend.close()

    assert strategy.name == "cloud_production"
