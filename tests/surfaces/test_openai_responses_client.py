"""The official `openai` client's Responses face, and chat with tools, work unchanged against our server."""

import asyncio
import json

import openai
import pytest
from tests.fakes.agent import Agent
from tests.fakes.serving import reachable

KEY = "test-key-of-this-run"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}]
CHAT_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
ASK = {"model": "agent", "input": "one two three"}
HELLO = [{"role": "user", "content": "one two three"}]
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def backend():
    return Agent()


@pytest.fixture(scope="module")
def url(backend):
    with reachable(backend, api_keys=(KEY,)) as found:
        yield found + "/v1"


@pytest.fixture
def client(url):
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as found:
        yield found


def strictly(found):
    """Check an answer with the client's own type; the client itself only constructs it."""
    return type(found).model_validate_json(found.to_json(exclude_unset=True), strict=True)


def test_a_response_whole_and_streamed_is_the_same(client):
    whole = client.responses.create(**ASK, instructions="be brief", temperature=0.5)
    with client.responses.stream(**ASK, instructions="be brief", temperature=0.5) as stream:
        events = list(stream)
        final = stream.get_final_response()

    assert strictly(whole).output_text == "one two three" == final.output_text
    assert (whole.status, whole.instructions, whole.temperature) == ("completed", "be brief", 0.5)
    assert final.usage == whole.usage
    assert whole.usage.total_tokens == 29
    assert whole.usage.input_tokens_details.cached_tokens == 5
    assert [e.sequence_number for e in events] == sorted(e.sequence_number for e in events)


def test_every_event_is_of_the_clients_types(client):
    events = list(client.responses.create(**ASK, stream=True, tools=TOOLS))

    assert all(strictly(e) for e in events)
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    assert events[-1].response.output_text == "Let me see."


@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_tool_calls_and_their_results(client, backend, streamed):
    def ask(items):
        more = {"model": "agent", "tools": TOOLS, "input": items}
        if not streamed:
            return client.responses.create(**more)
        with client.responses.stream(**more) as stream:
            return stream.get_final_response()

    first = ask(HELLO)
    asked = [i for i in first.output if i.type == "function_call"]
    results = [
        {
            "type": "function_call_output",
            "call_id": c.call_id,
            "output": json.loads(c.arguments)["city"],
        }
        for c in asked
    ]
    said = [i.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for i in first.output]
    for item in said:
        for part in item.get("content", ()):
            part.pop("parsed", None)
    second = ask([*HELLO, *said, *results])

    assert [i.type for i in first.output] == [
        "reasoning", "message", "function_call", "function_call",
    ]  # fmt: skip
    assert asked[0].call_id == "call_a"
    assert second.output_text == "It is Oslo and Rome"
    assert backend.seen[-1].messages[1].thoughts[0].seal == "sealed"
    assert len(backend.seen[-1].messages[1].tool_calls) == 2


def test_limits_formats_images_and_logprobs(client, backend):
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    cut = client.responses.create(
        **ASK, max_output_tokens=2, text={"format": schema}, reasoning={"effort": "low"}
    )
    seen = backend.seen[-1]
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    items = [{"role": "user", "content": [{"type": "input_text", "text": "what"}, picture]}]
    scored = client.responses.create(
        model="agent", input=items, top_logprobs=1, include=["message.output_text.logprobs"]
    )

    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert seen.response_format["json_schema"]["name"] == "n"
    assert seen.extra["reasoning_effort"] == "low"
    assert backend.seen[-1].messages[0].content[1].detail == "low"
    assert strictly(scored).output[0].content[0].logprobs[0].logprob == -0.5


def test_errors_are_the_clients_own_classes(client, url):
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(**ASK | {"model": "none"})
    with pytest.raises(openai.BadRequestError) as kept:
        client.responses.create(**ASK, previous_response_id="resp_1")
    with pytest.raises(openai.BadRequestError) as unknown:
        client.responses.create(**ASK, extra_body={"foo": 1})
    with pytest.raises(openai.RateLimitError) as limited:
        client.responses.create(**ASK | {"model": "limited"})
    with (
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.responses.create(**ASK)

    assert (missing.value.param, kept.value.param) == ("model", "previous_response_id")
    assert (unknown.value.param, unknown.value.code) == ("foo", "unknown_parameter")
    assert limited.value.response.headers["retry-after"] == "3"


def test_a_stream_that_breaks_ends_with_one_failed_response(client):
    events = list(client.responses.create(**ASK | {"model": "broken"}, stream=True))

    assert [e.type for e in events if e.type in {"response.failed", "response.completed"}] == [
        "response.failed"
    ]
    assert events[-1].response.error.code == "rate_limit_exceeded"
    assert events[-1].response.output_text == "one two three"


def test_strict_is_our_own_field_on_every_route(client, backend):
    client.responses.create(**ASK, extra_body={"strict": True})
    first = backend.seen[-1].strict
    client.chat.completions.create(model="agent", messages=HELLO, extra_body={"strict": True})

    assert (first, backend.seen[-1].strict) == (True, True)


def test_chat_streams_parallel_calls_whose_arguments_come_in_pieces(client):
    ask = {"model": "agent", "messages": HELLO, "tools": CHAT_TOOLS}
    with client.chat.completions.stream(**ask) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    whole = client.chat.completions.create(**ask)

    streamed, said = final.choices[0].message, whole.choices[0].message
    assert [c.function.arguments for c in streamed.tool_calls] == [
        c.function.arguments for c in said.tool_calls
    ]
    assert json.loads(said.tool_calls[0].function.arguments)["unit"] == "°C"
    assert streamed.reasoning_content == said.reasoning_content == "two lookups"
    assert strictly(whole).choices[0].finish_reason == "tool_calls"


def test_chat_takes_images_and_refuses_what_is_gone(client, backend):
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a", "detail": "high"}}
    words = {"type": "text", "text": "what"}
    client.chat.completions.create(
        model="agent",
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [words, picture]},
        ],
        max_completion_tokens=9,
    )
    seen = backend.seen[-1]
    with pytest.raises(openai.BadRequestError) as legacy:
        client.chat.completions.create(
            model="agent", messages=HELLO, functions=[{"name": "f", "parameters": {}}]
        )

    assert (seen.messages[0].role, seen.sampling.max_tokens) == ("system", 9)
    assert seen.messages[1].content[1].detail == "high"
    assert legacy.value.param == "functions"


def test_the_async_client_whole_and_streamed(url):
    async def run():
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY) as client:
            replies = await asyncio.gather(*(client.responses.create(**ASK) for _ in range(4)))
            async with client.responses.stream(**ASK) as stream:
                final = await stream.get_final_response()
            return [r.output_text for r in replies], final.output_text

    texts, streamed = asyncio.run(run())

    assert texts == ["one two three"] * 4
    assert streamed == "one two three"
