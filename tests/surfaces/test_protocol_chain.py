"""One answer through every protocol: asked by our client, written by our server, the same in the end."""

import asyncio
import json

import pytest
from msgspec.structs import replace
from tests.fakes.agent import SEAL, USAGE, Agent
from tests.fakes.asgi import call
from tests.fakes.messages import TOOL
from tests.fakes.serving import reachable

from stead.inference.gather import Gathered
from stead.inference.remote import Remote
from stead.messages import GenerateRequest, ImagePart, Message, Sampling, TextPart
from stead.serving.asgi import App
from stead.serving.settings import Settings

DIALECTS = ("openai_chat", "openai_responses", "anthropic")
ASKED = GenerateRequest(
    model="agent",
    messages=(Message("user", "one two three"),),
    tools=(TOOL,),
    sampling=Sampling(max_tokens=99),
)
WIDE = Sampling(max_tokens=200_000)
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def url():
    with reachable(Agent()) as found:
        yield found


async def through(url, dialect, request):
    """Return the whole answer and the gathered stream of it."""
    remote = Remote(url, dialects=(dialect,))
    gathered = Gathered()
    try:
        whole = await remote.generate(request)
        async for chunk in remote.stream(request):
            gathered.add(chunk)
    finally:
        await remote.close()
    return whole, gathered.reply()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_calls_reasoning_usage_and_seals_come_through(url, dialect):
    whole, streamed = asyncio.run(through(url, dialect, ASKED))
    direct = asyncio.run(Agent().generate(ASKED))

    expected = direct.choices[0].message
    if dialect == "openai_chat":  # has no place for a seal
        expected = replace(expected, thoughts=())
    assert whole.choices[0].message == expected
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.usage == USAGE
    assert replace(streamed, created=0) == replace(whole, created=0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_second_turn_comes_through_with_the_results(url, dialect):
    first = asyncio.run(Agent().generate(ASKED)).choices[0].message
    results = [Message("tool", "rain", tool_call_id=c.id) for c in first.tool_calls]
    request = replace(ASKED, messages=(*ASKED.messages, first, *results))

    whole, streamed = asyncio.run(through(url, dialect, request))

    assert whole.text == streamed.text == "It is rain and rain"


@pytest.mark.spec("004-036")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_images_and_a_long_context_come_through(dialect):
    agent = Agent()
    value, address = ImagePart("data:image/png;base64,AAAA"), ImagePart("https://example.com/a.png")
    long = "word " * 150_000
    parts = (TextPart(long), value, address)
    request = replace(ASKED, messages=(Message("user", parts),), tools=(), sampling=WIDE)

    with reachable(agent) as found:
        whole, streamed = asyncio.run(through(found, dialect, request))

    assert [r.messages for r in agent.seen] == [request.messages] * 2
    assert whole.text == streamed.text
    assert len(whole.text) == len(long)


BODIES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], "tools": [TOOL]},
    "/v1/responses": {"input": "x", "tools": [TOOL["function"] | {"type": "function"}]},
    "/v1/messages": {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    },
}


@pytest.mark.spec("004-001")
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("path", BODIES)
def test_every_route_over_every_upstream_gives_the_same_calls(url, dialect, path):
    async def run():
        remote = Remote(url, dialects=(dialect,))
        try:
            return await call(App(remote, Settings()), path, {"model": "agent"} | BODIES[path])
        finally:
            await remote.close()

    body = asyncio.run(run()).json

    assert body["model"] == "agent"
    assert body["id"] == "r1"
    said = json.dumps(body, ensure_ascii=False)
    assert said.count("call_a") >= 1
    assert said.count("Rome") == 1
    assert (SEAL.seal in said) == (path == "/v1/messages" and dialect != "openai_chat")
