"""A strategy as one Backend: who answers, what never leaves this machine, what is counted."""

import asyncio
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.strategies import ask, made, one
from tests.fakes.vendors import Fault, mock_vendor

from stead.core.errors import SteadError
from stead.core.metrics import Metrics
from stead.inference.backends.echo import Echo
from stead.inference.breaker import BreakerPolicy, Breakers
from stead.inference.facts import RequestFacts
from stead.inference.grouped import Grouped, shares
from stead.inference.meter import MemoryLedger
from stead.inference.prices import picodollars
from stead.messages import EmbedReply, EmbedRequest, GenerateRequest, ImagePart, Message, TextPart


def lines(**sections):
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in sections.items())


def cloud(url, model="gpt-4o-mini", **more):
    config = {"api_key": "k-12345678", "base_url": url, "default_model": model, "max_retries": 0}
    return {"type": "openai", "config": config | more}


def local(url, model="q"):
    return {"type": "tgi", "config": {"base_url": url, "default_model": model}}


@pytest.mark.spec("000-070", "000-085")
async def test_the_primary_fails_then_each_of_the_chain_as_written() -> None:
    async with mock_vendor(always=Fault(status=500)) as down, mock_vendor() as up:
        chain = [
            {**cloud(down.url, "b"), "name": "b"},
            {**local(down.url, "c"), "name": "c"},
            {**cloud(up.url, "d"), "name": "d", "type": "groq"},
        ]
        retry = {"retry_policy": {"max_attempts": 1}}
        text = lines(
            components={"cloud_api": cloud(down.url, "a")}, fallback_chain=chain, optimization=retry
        )
        request = ask()
        composed = made(one(text))
        reply = await composed.backend.generate(request)
        pieces = [c async for c in composed.backend.stream(ask())]

    assert [a.candidate for a in request.call.attempts] == ["cloud_api", "b", "c", "d"]
    assert reply.model == "d"
    assert "".join(p.text for p in pieces) == reply.text


@pytest.mark.spec("004-064")
async def test_an_endpoint_without_its_key_is_skipped_with_its_reason() -> None:
    async with mock_vendor() as up:
        keyless = {"type": "openai", "config": {"api_key": "${NO_KEY}", "default_model": "a"}}
        text = lines(components={"cloud_api": keyless, "model_app": local(up.url)})
        composed = made(one(text))
        reply = await composed.backend.generate(ask())

    assert composed.candidates[0].unavailable == "the variable NO_KEY is not set"
    assert reply.model == "q"
    assert "NO_KEY" in reply.deviations[0].detail


@pytest.mark.parametrize("mode", ["private", "local_only"])
async def test_private_prompts_never_reach_a_public_vendor(mode) -> None:
    """Not by the chain of another strategy, a rule, a name, or because all of this machine is down."""
    async with mock_vendor() as public, mock_vendor(always=Fault(status=500)) as down:
        text = lines(
            components={"model_app": local(down.url)},
            constraints={"privacy_mode": mode},
            optimization={"retry_policy": {"max_attempts": 1}},
        )
        found = one(text)
        strategy = found.get("s")
        # As if the checks at load had let them through: the stack itself must hold.
        other = one(lines(components={"cloud_api": cloud(public.url)})).get("s")
        leaky = strategy.model_copy(
            update={
                "components": strategy.components.model_copy(
                    update={"cloud_api": other.components.cloud_api}
                ),
                "routing_rules": (),
            }
        )
        object.__setattr__(found.file, "strategies", (leaky,))
        composed = made(found)
        for request in (ask(), ask("code"), ask(tags=["urgent"])):
            with pytest.raises(SteadError):
                await composed.backend.generate(request)
        for name in ("cloud_api", "gpt-4o-mini"):
            with pytest.raises(SteadError) as refused:
                await composed.backend.generate(ask(model=name))
            assert refused.value.code == "model-not-found"

    assert [c.place for c in composed.candidates] == ["local"]
    assert public.invoice == []
    assert down.invoice != []


async def test_a_request_tagged_private_skips_public_candidates() -> None:
    async with mock_vendor() as public, mock_vendor() as here:
        text = lines(components={"cloud_api": cloud(public.url), "model_app": local(here.url)})
        composed = made(one(text))
        reply = await composed.backend.generate(ask(tags=["private"]))

    assert (reply.model, public.invoice) == ("q", [])


async def test_a_candidate_outside_the_chain_answers_only_when_meant() -> None:
    async with mock_vendor(always=Fault(status=500)) as down:
        entry = {**cloud(down.url, "b"), "name": "b"}
        text = lines(
            components={
                "cloud_api": cloud(down.url),
                "model_app": {"type": "mock_model", "config": {"default_model": "m"}},
            },
            fallback_chain=[entry],
            routing_rules=[{"condition": "here", "target": "model_app"}],
        )
        composed = made(one(text))
        with pytest.raises(SteadError):
            await composed.backend.generate(ask())
        tagged = await composed.backend.generate(ask(tags=["here"]))
        named = await composed.backend.generate(ask(model="m"))

    assert (tagged.model, named.model) == ("m", "m")


async def test_the_ledger_equals_the_invoice_whole_and_streamed_grouped_and_failing() -> None:
    prices = {"input": picodollars("1.5e-7"), "output": picodollars("6e-7")}
    async with mock_vendor() as vendor:
        ledger = MemoryLedger()
        text = lines(
            components={"cloud_api": cloud(vendor.url, max_retries=2, retry_delay=0)},
            optimization={"batch_size": 3, "batch_timeout": 5},
        )
        composed = made(one(text), ledger=ledger)
        vendor.script(Fault(status=503), Fault(), Fault(status=500))
        await asyncio.gather(*(composed.backend.generate(ask(f"n {i}")) for i in range(4)))
        pieces = [c.text async for c in composed.backend.stream(ask())]
        await composed.backend.close()

    assert "".join(pieces) == vendor.text("one two three")
    assert sum(e.cost for e in ledger.entries) == vendor.cost(**prices)
    assert {e.strategy for e in ledger.entries} == {"s"}


async def test_joined_texts_share_the_tokens_of_the_call_exactly() -> None:
    async with mock_vendor() as vendor:
        text = lines(
            components={"cloud_api": cloud(vendor.url, "text-embedding-3-small")},
            optimization={"batch_size": 6, "batch_timeout": 1000},
        )
        ledger = MemoryLedger()
        composed = made(one(text), ledger=ledger)
        requests = [EmbedRequest(model="auto", input=("word " * n, "x")) for n in (1, 5, 9)]
        replies = await asyncio.gather(*(composed.backend.embed(r) for r in requests))

    assert len(vendor.invoice) == 1
    assert sum(r.usage.prompt_tokens for r in replies) == vendor.invoice[0].prompt_tokens
    assert [len(r.vectors) for r in replies] == [2, 2, 2]


async def test_a_joined_call_that_fails_fails_for_each_and_a_leaver_stops_nobody() -> None:
    class Slow(Echo):
        async def embed(self, request, deadline=None):
            await asyncio.sleep(0.01)
            if "bad" in request.input:
                raise SteadError("no", "no")
            return await super().embed(request, deadline)

    grouped = Grouped(Slow(), 2, 1.0)
    tasks = [
        asyncio.create_task(grouped.embed(EmbedRequest(model="m", input=(t,)))) for t in ("a", "b")
    ]
    await asyncio.sleep(0.002)
    tasks[0].cancel()
    assert isinstance(await tasks[1], EmbedReply)
    results = await asyncio.gather(
        *(grouped.embed(EmbedRequest(model="m", input=(t,))) for t in ("bad", "c")),
        return_exceptions=True,
    )
    assert [r.code for r in results] == ["no", "no"]
    await grouped.close()


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 500), min_size=1, max_size=9))
def test_shares_add_up_and_keep_the_order_of_the_weights(total, weights) -> None:
    parts = shares(total, weights)

    assert sum(parts) == total
    assert all(p >= 0 for p in parts)
    for (a, x), (b, y) in itertools.combinations(zip(weights, parts, strict=True), 2):
        assert (a <= b and x <= y + 1) or (a >= b and x + 1 >= y)


@pytest.mark.parametrize(
    ("text", "is_code"),
    [
        ("What is the capital of France?", False),
        ("Please import the goods from Spain; we need them.", False),
        ("```\nx\n```", True),
        ("def f(x):\n    return x", True),
        ("SELECT name FROM users", True),
        ("int main() {\n  return 0;\n}", True),
        ("#include <stdio.h>", True),
    ],
)
def test_code_is_known_by_its_look(text, is_code) -> None:
    assert RequestFacts(ask(text)).is_code is is_code


def test_facts_of_a_conversation() -> None:
    image = (TextPart("look"), ImagePart("data:image/png;base64,AA"))
    messages = (Message("system", "be kind"), Message("user", image), Message("assistant", "ok"))
    request = GenerateRequest(
        model="m", messages=messages, tools=({"type": "function"},),
        response_format={"type": "json_object"},
    )  # fmt: skip
    facts = RequestFacts(request)

    assert (facts.text, facts.length, facts.turns) == ("look", 13, 3)
    assert facts.requires_vision
    assert facts.requires_tools
    assert facts.requires_json


async def test_strategies_share_the_circuit_of_an_endpoint_model_and_key() -> None:
    breakers = Breakers(BreakerPolicy(failures=1, probe_s=60.0))
    async with mock_vendor(always=Fault(status=500)) as down, mock_vendor() as up:
        text = lines(components={"cloud_api": cloud(down.url, "a")})
        other = lines(components={"cloud_api": cloud(up.url, "a")})
        found = [made(one(t), breakers=breakers) for t in (text, text, other)]
        for composed in found[:2]:
            with pytest.raises(SteadError):
                await composed.backend.generate(ask())
        reply = await found[2].backend.generate(ask())

    assert len(down.invoice) == 1  # the second strategy found the circuit open
    assert reply.text
    assert sorted(breakers.states().values()) == ["closed", "open"]


async def test_two_strategies_share_their_counters() -> None:
    metrics = Metrics()
    part = {"model_app": {"type": "mock_model", "config": {"default_model": "m"}}}
    for _ in range(2):
        await made(one(lines(components=part)), metrics=metrics).backend.generate(ask())

    text = metrics.render()
    assert text.count("# TYPE stead_strategy_requests_total") == 1
    assert 'stead_strategy_requests_total{strategy="s",outcome="ok"} 2' in text
