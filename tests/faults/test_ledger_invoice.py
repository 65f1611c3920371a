"""GW5: the ledger equals the vendors' invoice under faults, streamed or not, and no ceiling is passed."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.fakes import strategies
from tests.fakes.ledger_cases import CUTS, PRICES, N, campaign, one, stack
from tests.fakes.vendors import Fault, mock_vendor

from stead.config.model_catalog import catalog
from stead.core.errors import BackendError, BudgetExceeded
from stead.core.shared import Limit, MemoryShared
from stead.inference.limits import Rules
from stead.inference.meter import MemoryLedger
from stead.inference.prices import picodollars
from stead.messages import Call, GenerateRequest, Message, Sampling


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


def test_what_a_vendors_prompt_cache_costs_is_what_the_ledger_says():
    """Claude Sonnet 4.5, per million: $3, read $0.30, written $3.75, for an hour $6, answer $15."""
    words = " ".join(f"w{i}" for i in range(100))

    async def go():
        ledger = MemoryLedger()
        async with mock_vendor(length=10, cached=40, written=(20, 15)) as vendor:
            found = strategies.one(
                f"""
                components:
                  cloud_api:
                    type: anthropic
                    config: {{api_key: k-12345678, base_url: '{vendor.url}', default_model: claude-sonnet-4-5}}
                """
            )
            backend = strategies.made(found, ledger=ledger, models=catalog()).backend
            marked = {"extra": {"cache_control": {"type": "ephemeral"}}}
            await backend.generate(strategies.ask(words, **marked))
            [chunk async for chunk in backend.stream(strategies.ask(words, **marked))]
            await backend.close()
        return ledger.entries

    entries = asyncio.run(go())

    micro = 25 * 3 + 40 * 0.3 + 20 * 3.75 + 15 * 6 + 10 * 15
    assert [e.cost for e in entries] == [round(micro * 10**6)] * 2
    assert [(e.usage.cache_write_tokens, e.usage.long_write_tokens) for e in entries] == [
        (35, 15)
    ] * 2


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
