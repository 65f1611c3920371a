"""The official `openai` client works unchanged against `stead serve`, with both engines."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time

import openai
import pytest

HELLO = [{"role": "user", "content": "hello"}]
KEY = "test-key-of-this-run"
SERVE = ("-m", "stead", "serve", "--port", "0", "--model")
pytestmark = pytest.mark.timeout(90)


def start(model, home, *options):
    environment = {
        k: v for k, v in os.environ.items() if k in {"PATH", "PYTHONPATH", "OMP_NUM_THREADS"}
    }
    return subprocess.Popen(
        [
            sys.executable,
            *SERVE,
            str(model),
            "--json",
            "--name",
            "tiny",
            "--threads",
            "1",
            *options,
        ],
        env=environment | {"STEAD_HOME": str(home), "STEAD_API_KEY": KEY, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(server):
    server.send_signal(signal.SIGTERM)
    out, err = server.communicate(timeout=30)
    return server.returncode, out.decode(), err.decode()


@pytest.fixture(scope="module", params=["llama_cpp", "transformers"])
def served(request, tiny_gguf, tiny_model, tmp_path_factory):
    model = tiny_gguf if request.param == "llama_cpp" else tiny_model
    server = start(model, tmp_path_factory.mktemp("served"))
    line = server.stdout.readline()
    if not line:
        raise AssertionError(server.stderr.read().decode())
    yield json.loads(line)
    status, _, err = finish(server)
    assert status in {0, -signal.SIGTERM}, err
    assert "Traceback" not in err, err


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=served["base_url"], api_key=KEY, max_retries=0) as found:
        yield found


@pytest.mark.spec("000-031", "004-034")
def test_chat_whole_and_streamed_give_the_same_text(client, served):
    asked = {"model": "tiny", "messages": HELLO, "max_tokens": 8, "temperature": 0}

    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert served["engine"] in {"llama_cpp", "transformers"}
    assert whole.model == "tiny"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole.choices[0].finish_reason in {"length", "stop"}
    assert text == whole.choices[0].message.content
    assert len([r for r in reasons if r]) == 1
    assert chunks[-1].usage == whole.usage or (
        chunks[-1].usage.total_tokens == whole.usage.total_tokens
    )
    assert all(c.usage is None for c in chunks[:-1])


def test_several_choices(client):
    found = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=4, n=2, seed=1, temperature=1.0
    )

    assert [c.index for c in found.choices] == [0, 1]
    assert found.usage.completion_tokens > 4


def test_completions_seed_stop_and_logprobs(client):
    asked = {"model": "tiny", "prompt": "the quick", "max_tokens": 12}

    first = client.completions.create(**asked, seed=3, temperature=1.0)
    again = client.completions.create(**asked, seed=3, temperature=1.0)
    other = {
        client.completions.create(**asked, seed=s, temperature=1.0).choices[0].text
        for s in range(4)
    }
    scored = client.completions.create(**asked, temperature=0, logprobs=2)
    stop = next(c for c in scored.choices[0].text[1:] if c not in scored.choices[0].text[:1])
    stopped = client.completions.create(**asked, temperature=0, stop=[stop])

    assert first.choices[0].text == again.choices[0].text
    assert len(other) > 1
    assert all(value < 0 for value in scored.choices[0].logprobs.token_logprobs)
    assert {len(top) for top in scored.choices[0].logprobs.top_logprobs} <= {1, 2}
    assert stopped.choices[0].text == scored.choices[0].text.split(stop)[0]
    assert stopped.choices[0].finish_reason == "stop"


def test_chat_logprobs_are_the_chosen_tokens(client):
    found = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2
    )

    for token in found.choices[0].logprobs.content:
        assert len(token.top_logprobs) == 2
        assert token.logprob == pytest.approx(max(t.logprob for t in token.top_logprobs), abs=1e-4)


def test_several_prompts_and_echo(client):
    found = client.completions.create(
        model="tiny", prompt=["the", "a fox"], max_tokens=2, echo=True, temperature=0
    )

    assert found.choices[0].text.startswith("the")
    assert found.choices[1].text.startswith("a fox")


def test_embeddings_as_the_client_asks_for_them_and_as_numbers(client):
    packed = client.embeddings.create(model="tiny", input=["the fox", "a dog"])
    plain = client.embeddings.create(model="tiny", input="the fox", encoding_format="float")

    assert [len(d.embedding) for d in packed.data] == [64, 64]
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-5)
    assert packed.usage.prompt_tokens > 0


def test_models(client):
    assert [m.id for m in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").object == "model"


def test_errors_are_the_clients_own_classes(client, served):
    with pytest.raises(openai.NotFoundError, match="no-such") as missing:
        client.chat.completions.create(model="no-such", messages=HELLO)
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="tiny", messages=HELLO, temperature=9)
    with pytest.raises(openai.BadRequestError) as unknown:
        client.chat.completions.create(model="tiny", messages=HELLO, extra_body={"foo": 1})
    with (
        openai.OpenAI(base_url=served["base_url"], api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as key,
    ):
        stranger.models.list()

    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert bad.value.param == "temperature"
    assert unknown.value.param == "foo"
    assert key.value.code == "invalid_api_key"


@pytest.mark.spec("000-090", "004-003")
def test_the_async_client_asks_many_at_once(served):
    async def run():
        async with openai.AsyncOpenAI(base_url=served["base_url"], api_key=KEY) as found:

            async def one():
                return await found.chat.completions.create(
                    model="tiny", messages=HELLO, max_tokens=4, temperature=0
                )

            replies = await asyncio.gather(*(one() for _ in range(6)))
            stream = await found.chat.completions.create(
                model="tiny", messages=HELLO, max_tokens=4, temperature=0, stream=True
            )
            text = "".join([c.choices[0].delta.content or "" async for c in stream])
            return [r.choices[0].message.content for r in replies], text

    texts, streamed = asyncio.run(run())

    assert len(texts) == 6
    assert streamed in texts


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_leave_free_the_engine(client, stream):
    """More endless answers than there are places are begun and left; the next is then answered soon."""
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 10**6, "stream": stream}
    data = json.dumps(body).encode()
    port = client.base_url.port
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nAuthorization: Bearer "
                + KEY.encode()
                + b"\r\nContent-Length: %d\r\n\r\n" % len(data)
                + data
            )
            if stream:
                sock.recv(200)
            else:
                time.sleep(0.05)

    begun = time.monotonic()
    client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=2)

    assert time.monotonic() - begun < 8  # seconds; each left answer would take longer
