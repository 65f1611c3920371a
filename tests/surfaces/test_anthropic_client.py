"""The official `anthropic` client works unchanged against our server, as it does against the vendor."""

import asyncio

import anthropic
import pytest
from tests.fakes.agent import Agent
from tests.fakes.serving import reachable

KEY = "test-key-of-this-run"
HELLO = [{"role": "user", "content": "one two three"}]
TOOLS = [
    {
        "name": "weather",
        "description": "The weather of a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]
ASK = {"model": "agent", "max_tokens": 20, "messages": HELLO}
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def backend():
    return Agent()


@pytest.fixture(scope="module")
def url(backend):
    with reachable(backend, api_keys=(KEY,)) as found:
        yield found


@pytest.fixture
def client(url):
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0) as found:
        yield found


def strictly(found):
    """Check an answer with the client's own type; the client itself only constructs it."""
    return type(found).model_validate_json(found.to_json(exclude_unset=True), strict=True)


def test_a_message_whole_and_streamed_is_the_same(client):
    whole = client.messages.create(**ASK)
    with client.messages.stream(**ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert strictly(whole).content[0].text == "one two three" == text
    assert whole.stop_reason == "end_turn"
    assert final.to_dict() == whole.to_dict()
    assert whole.usage.input_tokens == 13
    assert whole.usage.cache_read_input_tokens == 5
    assert whole.usage.cache_creation_input_tokens == 2
    assert whole.usage.output_tokens_details.thinking_tokens == 3


def test_every_event_is_of_the_clients_types(client):
    events = list(client.messages.create(**ASK, stream=True, tools=TOOLS))

    assert all(strictly(e) for e in events)
    assert {e.type for e in events} == {
        "message_start", "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    }  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_tool_calls_and_their_results(client, backend, streamed):
    def ask(messages):
        more = {"model": "agent", "max_tokens": 99, "tools": TOOLS, "messages": messages}
        if not streamed:
            return client.messages.create(**more)
        with client.messages.stream(**more) as stream:
            return stream.get_final_message()

    first = ask(HELLO)
    uses = [b for b in first.content if b.type == "tool_use"]
    results = [
        {"type": "tool_result", "tool_use_id": u.id, "content": u.input["city"]} for u in uses
    ]
    turns = [
        *HELLO,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    second = ask(turns)

    assert first.stop_reason == "tool_use"
    assert [b.type for b in first.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert uses[0].input == {"city": "Oslo", "unit": "°C"}
    assert second.content[0].text == "It is Oslo and Rome"
    assert backend.seen[-1].messages[1].thoughts[0].seal == "sealed"


def test_limits_system_images_and_counting(client, backend):
    cut = client.messages.create(
        **ASK | {"max_tokens": 2}, system="be brief", extra_body={"top_k": 3}
    )
    seen = backend.seen[-1]
    picture = {"type": "url", "url": "https://example.com/a.png"}
    blocks = [{"type": "image", "source": picture}, {"type": "text", "text": "what"}]
    client.messages.create(**ASK | {"messages": [{"role": "user", "content": blocks}]})

    assert (cut.stop_reason, cut.content[0].text) == ("max_tokens", "one two")
    assert (seen.messages[0].text, seen.sampling.top_k) == ("be brief", 3)
    assert backend.seen[-1].messages[0].content[0].url == "https://example.com/a.png"
    assert client.messages.count_tokens(model="agent", messages=HELLO).input_tokens == 3


def test_models_are_listed_as_the_client_reads_them(client):
    found = client.models.list()

    assert [strictly(m).id for m in found] == ["agent"]
    assert strictly(client.models.retrieve("agent")).display_name == "agent"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("none")


def test_errors_are_the_clients_own_classes(client, url):
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(**ASK | {"model": "none"})
    with pytest.raises(anthropic.BadRequestError) as bad:
        client.messages.create(**ASK, extra_body={"temperature": 1.5})
    with pytest.raises(anthropic.BadRequestError) as unknown:
        client.messages.create(**ASK, extra_body={"foo": 1})
    with pytest.raises(anthropic.RateLimitError) as limited:
        client.messages.create(**ASK | {"model": "limited"})
    with (
        anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError) as key,
    ):
        stranger.messages.create(**ASK)

    assert missing.value.body["error"]["type"] == "not_found_error"
    assert bad.value.body["error"]["type"] == "invalid_request_error"
    assert bad.value.body["error"]["param"] == "temperature"
    assert unknown.value.body["error"]["param"] == "foo"
    assert limited.value.response.headers["retry-after"] == "3"
    assert key.value.body["error"]["type"] == "authentication_error"


def test_a_stream_that_breaks_raises_in_the_client_after_its_text(client):
    text = []

    def read():
        with client.messages.stream(**ASK | {"model": "broken"}) as stream:
            text.extend(stream.text_stream)

    with pytest.raises(anthropic.APIStatusError, match="slow down"):
        read()

    assert "".join(text) == "one two three"


def test_the_async_client_whole_and_streamed(url):
    async def run():
        async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY) as client:
            replies = await asyncio.gather(*(client.messages.create(**ASK) for _ in range(4)))
            async with client.messages.stream(**ASK) as stream:
                text = "".join([t async for t in stream.text_stream])
            return [r.content[0].text for r in replies], text

    texts, streamed = asyncio.run(run())

    assert texts == ["one two three"] * 4
    assert streamed == "one two three"
