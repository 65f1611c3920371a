"""The official `ollama` client works unchanged against our server, whatever protocol is behind it."""

import asyncio
import base64
import threading
from contextlib import contextmanager

import ollama
import pytest
import uvicorn
from tests.fakes.vendors import Fault, mock_vendor

from stead.inference.remote import Remote
from stead.inference.route import ByName
from stead.serving.asgi import App
from stead.serving.settings import Settings

HELLO = [{"role": "user", "content": "red green"}]
SAID = "red0 green1 red2 green3 red4 green5"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
OPENAI = ("openai_chat", "openai_completions", "openai_embeddings")
OLLAMA = ("ollama_chat", "ollama_generate", "ollama_embed")
pytestmark = pytest.mark.timeout(60)


@contextmanager
def running(dialects):
    """Serve `tiny` from a mock vendor in a thread; yield the server's address and the vendor."""
    ready, done = threading.Event(), None
    found = {}

    async def run():
        nonlocal done
        done = asyncio.Event()
        async with mock_vendor() as vendor:
            remote = Remote(vendor.url, dialects=dialects)
            app = App(ByName({"tiny": (remote, "mock-1")}), Settings())
            config = uvicorn.Config(app, port=0, log_level="error", lifespan="off")
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110 - the library tells it by an attribute only
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            found.update(url=f"http://127.0.0.1:{port}", vendor=vendor)
            found["loop"] = asyncio.get_running_loop()
            ready.set()
            await done.wait()
            server.should_exit = True
            await serving
            await remote.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(20)
    try:
        yield found["url"], found["vendor"]
    finally:
        found["loop"].call_soon_threadsafe(done.set)
        thread.join(20)


@pytest.fixture(scope="module", params=[OPENAI, OLLAMA], ids=["openai", "ollama"])
def served(request):
    with running(request.param) as found:
        yield found


@pytest.fixture
def client(served):
    with ollama.Client(host=served[0]) as found:
        yield found


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
      a: one
      b: the other
    """
    return a + b


def test_chat_whole_and_streamed_give_the_same_text_and_counts(client):
    whole = client.chat("tiny", HELLO, options={"temperature": 0, "seed": 1, "stop": ["x"]})
    parts = list(client.chat("tiny", HELLO, stream=True))

    assert whole.message.content == "".join(p.message.content for p in parts) == SAID
    assert whole.model == "tiny"
    assert (whole.done, whole.done_reason) == (True, "stop")
    assert (whole.prompt_eval_count, whole.eval_count) == (2, 6)
    assert [p.done for p in parts] == [False] * (len(parts) - 1) + [True]
    assert (parts[-1].prompt_eval_count, parts[-1].eval_count) == (2, 6)
    assert 0 < whole.total_duration < 60 * 10**9


def test_a_limit_is_told_as_the_reason(client):
    assert client.chat("tiny", HELLO, options={"num_predict": 2}).done_reason == "length"


def test_generate_whole_streamed_and_raw(client):
    whole = client.generate("tiny", "red green", system="be kind")
    parts = list(client.generate("tiny", "red green", stream=True))
    raw = client.generate("tiny", "red green", raw=True)

    assert whole.response == "".join(p.response for p in parts) == raw.response == SAID
    assert whole.prompt_eval_count == 4
    assert parts[-1].eval_count == 6


def test_tools_are_called_and_answered(client):
    for stream in (False, True):
        asked = client.chat("tiny", HELLO, tools=[add], stream=stream)
        calls = [c for p in (asked if stream else [asked]) for c in p.message.tool_calls or ()]

        assert [(c.function.name, c.function.arguments) for c in calls] == [
            ("add", {"text": "red green"})
        ]

    history = [*HELLO, client.chat("tiny", HELLO, tools=[add]).message]
    answer = {"role": "tool", "tool_name": "add", "content": "5"}

    assert client.chat("tiny", [*history, answer], tools=[add]).message.content == SAID


def test_images_arrive_as_they_were_sent(client, served):
    client.chat("tiny", [{"role": "user", "content": "what", "images": [PNG]}])

    sent = served[1].invoice[-1].body["messages"][0]
    text = base64.b64encode(PNG).decode()
    assert sent.get("images", sent["content"]) in (
        [text],
        [
            {"type": "text", "text": "what"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}},
        ],
    )


def test_embeddings_of_one_of_many_and_by_the_old_route(client):
    one = client.embed("tiny", "red green")
    many = client.embed("tiny", ["red green", "blue"])
    old = client.embeddings("tiny", "red green")

    assert one.embeddings[0] == many.embeddings[0] == old.embedding
    assert len(many.embeddings) == 2
    assert many.prompt_eval_count == 3


def test_models_are_listed_shown_and_running(client):
    assert [m.model for m in client.list().models] == ["tiny"]
    assert client.show("tiny").capabilities
    assert [m.model for m in client.ps().models] == ["tiny"]


def test_a_request_without_words_loads_the_model(client, served):
    before = len(served[1].invoice)
    said = client.generate("tiny"), client.chat("tiny", [])

    assert [(x.done, x.done_reason, x.eval_count) for x in said] == [(True, "load", 0)] * 2
    assert said[0].response == said[1].message.content == ""
    assert len(served[1].invoice) == before  # this vendor counts no tokens: nothing is sent
    with pytest.raises(ollama.ResponseError, match="no-such"):
        client.generate("no-such")
    with pytest.raises(ollama.ResponseError, match="unloaded"):
        client.generate("tiny", keep_alive=0)


def test_errors_are_the_clients_own(client, served):
    with pytest.raises(ollama.ResponseError, match="no-such") as missing:
        client.chat("no-such", HELLO)
    with pytest.raises(ollama.ResponseError, match="no-such") as hidden:
        client.show("no-such")
    with pytest.raises(ollama.ResponseError, match="temperature") as bad:
        client.chat("tiny", HELLO, options={"temperature": -1})
    with pytest.raises(ollama.ResponseError, match="template") as template:
        client.generate("tiny", "x", template="{{ .Prompt }}")
    with pytest.raises(ollama.ResponseError) as unknown:
        client.pull("tiny")

    codes = [e.value.status_code for e in (missing, hidden, bad, template, unknown)]
    assert codes == [404, 404, 400, 400, 404]


def test_a_stream_that_breaks_ends_with_the_clients_error(client, served):
    served[1].script(Fault(cut_after=2))
    texts = []

    def read():
        for part in client.chat("tiny", HELLO, stream=True):
            texts.append(part.message.content)

    with pytest.raises(ollama.ResponseError):
        read()
    assert "".join(texts) == "red0 green1 "  # pieces that arrive together may come as one


def test_the_async_client(served):
    async def run():
        found = ollama.AsyncClient(host=served[0])
        whole = await asyncio.gather(*(found.chat("tiny", HELLO) for _ in range(4)))
        parts = [p.response async for p in await found.generate("tiny", "red green", stream=True)]
        await found.close()
        return [w.message.content for w in whole], "".join(parts)

    assert asyncio.run(run()) == ([SAID] * 4, SAID)
