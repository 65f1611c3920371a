"""Vendors as rows: addresses, keys that go nowhere else, and requests said as each takes them."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace
from tests.fakes.vendors import mock_vendor

from stead.core.address import place_of
from stead.core.errors import BackendError, ConfigError, UnsafeError
from stead.inference.backends.vendor import adapt
from stead.inference.vendor_rows import row, rows
from stead.inference.vendors import availability, vendor
from stead.messages import Call, GenerateRequest, Message, Sampling
from stead.wire.dialect import DIALECTS

FULL = Sampling(
    max_tokens=9, temperature=0.0, top_p=0.5, top_k=3, min_p=0.1, seed=4, stop=("x",),
    frequency_penalty=0.1, presence_penalty=0.2, repeat_penalty=1.1, logprobs=2,
    logit_bias={"1": 2.0}, n=2,
)  # fmt: skip
KEY = "sk-test-" + "k" * 20


def ask(model="m", sampling=None, **more):
    sampling = Sampling() if sampling is None else sampling
    return GenerateRequest(
        model=model, messages=(Message("user", "hi"),), sampling=sampling, call=Call(id="c"), **more
    )


@pytest.mark.parametrize("name", rows())
def test_each_row_is_complete(name: str) -> None:
    facts = row(name)

    assert facts.title
    assert facts.source.startswith("https://")
    assert set(facts.dialects) <= set(DIALECTS.names())
    assert facts.place != "public" or (facts.keys and facts.url and facts.url[:8] == "https://")
    fields = {*Sampling.__struct_fields__, "user"}
    assert all({*c.rename, *c.drop} <= fields for c in facts.changes)
    assert not any({*c.rename} & {*c.drop} for c in facts.changes)


def test_every_vendor_of_the_documents_is_there() -> None:
    assert {
        "openai", "groq", "together", "deepseek", "mistral", "openrouter", "fireworks", "xai",
        "perplexity", "anyscale", "anthropic", "google", "ollama", "vllm", "llama_server", "custom",
    } <= rows().keys()  # fmt: skip
    with pytest.raises(ConfigError, match="did you mean 'openai'"):
        vendor("opnai")


@pytest.mark.spec("000-092")
def test_an_unset_key_is_a_reason_and_no_error_until_it_is_needed() -> None:
    made = vendor("groq", environment={})

    assert made.unavailable is not None
    assert "GROQ_API_KEY" in made.unavailable
    assert availability({"GROQ_API_KEY": KEY})["groq"] is None
    assert availability({})["groq"] == "GROQ_API_KEY is not set"
    assert vendor("ollama", environment={}).unavailable is None
    for call in (
        lambda: asyncio.run(made.generate(ask())),
        lambda: made.stream(ask()),
        lambda: asyncio.run(made.models()),
    ):
        with pytest.raises(BackendError) as raised:
            call()
        assert raised.value.code == "no-key"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://127.0.0.1:1", "local"), ("http://localhost", "local"), ("http://[::1]:8", "local"),
        ("http://0.0.0.0:1", "local"), ("http://192.168.1.2", "private"), ("http://ollama:11434", "private"),
        ("http://nas.local", "private"), ("http://[fd00::1]", "private"), ("https://ollama.com", "public"),
        ("http://8.8.8.8", "public"), ("http://[::ffff:8.8.8.8]", "public"), ("http://[2002:808:808::1]", "public"),
        ("http://localhost.evil.example", "public"), ("http://127.0.0.1.evil.example", "public"),
    ],
)  # fmt: skip
def test_where_an_address_is(url: str, place: str) -> None:
    assert place_of(url) == place


def test_a_local_vendor_at_a_public_address_is_public() -> None:
    assert vendor("ollama", environment={"OLLAMA_BASE_URL": "https://ollama.com"}).place == "public"
    assert vendor("custom", base_url="http://127.0.0.1:9").place == "local"
    assert vendor("openai", base_url="http://127.0.0.1:9", environment={}).place == "public"
    with pytest.raises(ConfigError, match="no address"):
        vendor("custom")


def asked_of(name, request=None, **given):
    """Ask a vendor at a fake; return (what it was sent, the reply)."""

    async def run():
        async with mock_vendor() as mock:
            made = vendor(name, base_url=mock.url, **given)
            try:
                reply = await made.generate(ask() if request is None else request)
            finally:
                await made.close()
            return mock.invoice[-1], reply

    return asyncio.run(run())


@pytest.mark.spec("000-092", "004-051")
def test_a_key_of_the_environment_goes_to_the_vendors_own_origin_only() -> None:
    with pytest.raises(BackendError) as raised:
        asked_of("openai", environment={"OPENAI_API_KEY": KEY})
    with pytest.raises(UnsafeError) as clear:
        vendor("custom", base_url="http://8.8.8.8", api_key=KEY)
    billed, _ = asked_of("openai", api_key=KEY, environment={})
    free, _ = asked_of("vllm", environment={"VLLM_API_KEY": KEY})

    assert raised.value.code == "no-key"
    assert clear.value.code == "key-in-clear"
    assert billed.headers["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in free.headers


def test_options_become_headers() -> None:
    env = {"OPENAI_ORG_ID": "org-env"}
    billed, _ = asked_of("openai", api_key=KEY, environment=env, options={"project": "p1"})

    assert billed.headers["OpenAI-Organization"] == "org-env"
    assert billed.headers["OpenAI-Project"] == "p1"


@pytest.mark.parametrize("name", ["groq", "together", "deepseek", "mistral", "openai", "xai"])
def test_a_vendor_is_sent_only_what_it_takes_and_the_rest_is_told(name: str) -> None:
    request = ask(sampling=FULL, user="u")

    billed, reply = asked_of(name, request, api_key=KEY, environment={})

    facts = row(name)
    gone = {f for c in facts.changes if c.applies("m") for f in c.drop}
    moved = {f: to for c in facts.changes if c.applies("m") for f, to in c.rename.items()}
    told = {d.detail.partition(":")[0] for d in reply.deviations if d.kind == "param_dropped"}
    assert told == gone & {*Sampling.__struct_fields__, "user"}
    assert set(reply.deviations) <= set(request.call.deviations)
    assert not gone & billed.body.keys()
    assert not moved.keys() & billed.body.keys()
    assert {billed.body[to] for to in moved.values()} <= {9, 4, 1.1}
    assert billed.body["temperature"] == 0.0
    assert len(reply.choices) == (2 if "n" in facts.lacks else len(reply.choices))


def test_reasoning_models_of_openai_are_asked_in_their_words() -> None:
    billed, reply = asked_of(
        "openai",
        ask("o3-mini", Sampling(max_tokens=5, temperature=0.0)),
        api_key=KEY,
        environment={},
    )

    assert billed.body["max_completion_tokens"] == 5
    assert not {"max_tokens", "temperature"} & billed.body.keys()
    assert [d.detail for d in reply.deviations] == ["temperature: openai does not take it"]


def test_a_strict_request_is_refused_before_it_is_sent() -> None:
    with pytest.raises(BackendError) as raised:
        asked_of("groq", ask(sampling=Sampling(top_k=3), strict=True), api_key=KEY, environment={})

    assert raised.value.code == "deviation"
    assert raised.value.details["status"] == 400


def test_streams_tell_it_in_their_first_chunk_and_omit_what_a_vendor_refuses() -> None:
    async def run() -> tuple[list[Any], dict[str, Any]]:
        async with mock_vendor() as mock:
            made = vendor("mistral", base_url=mock.url, api_key=KEY, environment={})
            request = ask(sampling=Sampling(seed=4, top_k=2))
            chunks = [chunk async for chunk in made.stream(request)]
            await made.close()
            return chunks, mock.invoice[-1].body

    chunks, body = asyncio.run(run())

    assert [d.kind for d in chunks[0].deviations] == ["param_dropped"]
    assert not any(c.deviations for c in chunks[1:])
    assert body["random_seed"] == 4
    assert not {"stream_options", "seed", "top_k"} & body.keys()


def test_a_request_without_what_a_vendor_lacks_is_passed_as_it_is() -> None:
    request = ask(sampling=Sampling(max_tokens=3, temperature=0.0))

    assert adapt("groq", row("groq"), request) == (request, ())
    assert json.dumps(rows()["groq"].model_dump())


PLAIN = Sampling(
    max_tokens=64
)  # some protocols want a limit, and say so when they have to make one up
PARAMS = [f for f in Sampling.__struct_fields__ if f not in ("max_tokens", "n")]


def sent_as(name: str, field: str, body: Any) -> bool:
    """Say whether a field's value is somewhere in what was sent."""
    value = getattr(FULL, field)
    wanted = [value, list(value)] if isinstance(value, tuple) else [value]
    found = (
        list(body.values()) if isinstance(body, dict) else body if isinstance(body, list) else []
    )
    return any(
        any(type(v) is type(w) and v == w for w in wanted) or sent_as(name, field, v) for v in found
    )


@pytest.mark.spec("000-027", "000-028", "000-029", "000-061", "000-062")
@pytest.mark.parametrize("name", [n for n in rows() if n != "custom"])
def test_every_parameter_arrives_or_is_told_and_nothing_is_told_that_arrived(name: str) -> None:
    async def run() -> list[str]:
        async with mock_vendor() as mock:
            url = mock.url + ("/v1" if row(name).version == "" else "")
            made = vendor(name, base_url=url, api_key=KEY, environment={})
            wrong = []
            clean = await made.generate(ask(sampling=PLAIN))
            wrong += [f"said of nothing: {d}" for d in clean.deviations]
            for field in PARAMS:
                one = replace(PLAIN, **{field: getattr(FULL, field)})
                reply = await made.generate(ask(sampling=one))
                told = [d.detail for d in reply.deviations]
                arrived = sent_as(name, field, mock.invoice[-1].body)
                if arrived == bool(told):
                    wrong.append(f"{field}: sent {arrived}, told {told}")
            await made.close()
            return wrong

    assert asyncio.run(run()) == []


@pytest.mark.parametrize(("name", "field"), [("groq", "name"), ("mistral", "reasoning")])
def test_fields_of_messages_that_a_vendor_refuses_are_left_out_and_told(name, field) -> None:
    turn = Message("assistant", "ok", name="a", reasoning="b")
    request = replace(ask(), messages=(turn, Message("user", "go")))

    billed, reply = asked_of(name, request, api_key=KEY, environment={})

    sent = {"name": "name", "reasoning": "reasoning_content"}
    kept = sent.values() & billed.body["messages"][0].keys()
    assert kept == {*sent.values()} - {sent[field]}
    assert [d.detail for d in reply.deviations] == [f"messages.{field}: {name} does not take it"]
