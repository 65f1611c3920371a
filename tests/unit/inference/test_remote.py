"""The Backend over HTTP against scripted faults: typed errors, exact prefixes, closed sockets."""

import asyncio
import json
import socket
import time

import pytest
from tests.fakes.upstream import Reset, head, streamed, upstream, whole

from stead.core.errors import BackendError, BackendTimeout, RateLimited
from stead.core.http import Waits
from stead.inference.remote import Remote
from stead.messages import EmbedRequest, GenerateRequest, Message, Sampling

ASK = GenerateRequest(model="m", messages=(Message("user", "hi"),))
REPLY = json.dumps(
    {
        "id": "x",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hey"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
)
QUICK = Waits(connect_s=0.5, first_s=0.2, between_s=0.2)


def piece(text=None, finish=None):
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return json.dumps({"id": "x", "model": "m", "created": 1, "choices": [choice]})


def ask(script, *, call=None, waits=QUICK, deadline_s=None):
    """Ask an upstream with this script; return (answer or error, the upstream)."""

    async def run():
        async with upstream(script) as up:
            backend = Remote(up.url, token="secret", waits=waits)
            deadline = None if deadline_s is None else time.monotonic() + deadline_s
            try:
                return await (call or whole_answer)(backend, deadline), up
            except BackendError as error:
                return error, up
            finally:
                await backend.close()

    return asyncio.run(asyncio.wait_for(run(), 10))


async def whole_answer(backend, deadline):
    return await backend.generate(ASK, deadline)


async def text_then_error(backend, deadline):
    texts = []
    try:
        async for chunk in backend.stream(ASK, deadline):
            texts.append(chunk.text)
    except BackendError as error:
        return "".join(texts), error
    return "".join(texts), None


def test_a_good_answer_and_what_was_sent():
    reply, up = ask(whole(REPLY))

    sent_head, _, body = up.requests[0].partition(b"\r\n\r\n")
    assert reply.text == "hey"
    assert sent_head.startswith(b"POST /v1/chat/completions HTTP/1.1")
    assert b"authorization: bearer secret" in sent_head.lower()
    assert json.loads(body) == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("script", "kind", "code"),
    [
        (whole('{"error":{"message":"bad"}}', 400), BackendError, "upstream-refused"),
        (whole('{"error":{"message":"key"}}', 401), BackendError, "upstream-auth"),
        (whole('{"error":{"message":"none"}}', 404), BackendError, "model-not-found"),
        (whole("slow", 429, "Retry-After: 2\r\n"), RateLimited, "rate-limited"),
        (whole("oops", 500), BackendError, "upstream-failed"),
        (whole("<html>", 502), BackendError, "upstream-failed"),
        (whole("busy", 503), BackendError, "upstream-overloaded"),
        (whole("", 307, "Location: http://127.0.0.1:9/\r\n"), BackendError, "upstream-failed"),
        (whole("<html>hello</html>"), BackendError, "bad-answer"),
        (whole('{"error":{"message":"no"}}'), BackendError, "upstream-failed"),
        (whole('{"choices":[{"index":0,"mess'), BackendError, "bad-answer"),
        (whole("NaN"), BackendError, "bad-answer"),
        (whole("x", extra="Content-Encoding: gzip\r\n"), BackendError, "encoded-answer"),
        ([head(length=100) + b"short"], BackendError, "connection-lost"),
        ([head(length=100) + b"{", Reset], BackendError, "connection-lost"),
        ([Reset], BackendError, "connection-lost"),
        ([b"garbage\r\n\r\n"], BackendError, "connection-lost"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"], BackendError, "connection-lost"),
    ],
)  # fmt: skip
def test_each_fault_is_its_own_typed_error(script, kind, code):
    error, up = ask(script)

    assert (type(error), error.code) == (kind, code)
    assert up.connections == 1  # nothing but `retry` tries again
    assert "secret" not in str(error)


def test_a_rate_limit_says_how_long_to_wait():
    error, _ = ask(whole("slow", 429, "Retry-After: 2\r\n"))

    assert error.details["retry_after_s"] == 2.0


def test_nobody_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def run():
        backend = Remote(f"http://127.0.0.1:{port}")
        try:
            await backend.generate(ASK)
        finally:
            await backend.close()

    with pytest.raises(BackendError, match=str(port)) as caught:
        asyncio.run(run())

    assert caught.value.code == "connection-refused"


def test_a_whole_answer_waits_until_the_deadline_and_no_longer():
    late, _ = ask([0.4, *whole(REPLY)], deadline_s=5)
    error, _ = ask([5.0], deadline_s=0.3)

    assert late.text == "hey"  # twice as long as a stream's first byte may take
    assert isinstance(error, BackendTimeout)
    assert error.code == "deadline"


def test_a_deadline_that_has_passed_sends_nothing():
    error, up = ask(whole(REPLY), deadline_s=-1)

    assert (error.code, up.connections) == ("deadline", 0)


@pytest.mark.parametrize(
    ("script", "text", "code"),
    [
        (streamed(piece("a"), piece(" b"), piece(None, "stop")), "a b", None),
        (streamed(piece("a"), piece(None, "stop"), end=False), "a", None),
        (streamed(piece("a"), end=False), "a", "stream-cut"),
        (streamed(piece("a")), "a", "stream-cut"),
        (streamed(), "", "stream-cut"),
        (streamed(piece("a"), '{"error":{"message":"x"}}'), "a", "upstream-failed"),
        (streamed(piece("a"), "{nonsense"), "a", "bad-answer"),
        ([*streamed(piece("a"), end=False), 5.0], "a", "between-bytes-timeout"),
        ([5.0], "", "first-byte-timeout"),
        (whole("no", 500), "", "upstream-failed"),
    ],
)
def test_a_stream_gives_an_exact_prefix_then_one_typed_error(script, text, code):
    (found, error), up = ask(script, call=text_then_error)

    assert found == text
    assert (error.code if error else None) == code
    assert up.connections == 1


def test_a_stream_cut_at_any_byte_gives_a_prefix_and_never_a_wrong_text():
    full = b"".join(streamed(piece("one"), piece(" two"), piece(None, "stop"))[1:])
    end = full.index(b'"stop"')
    outcomes = []

    for at in range(0, len(full), 37):
        script = [head(kind="text/event-stream") + full[:at], Reset]
        (text, error), _ = ask(script, call=text_then_error)
        outcomes.append(("one two".startswith(text), error is not None or at > end))

    assert set(outcomes) == {(True, True)}


def test_leaving_a_stream_closes_the_upstream_socket_at_once():
    async def leave(backend, deadline):
        chunks = backend.stream(ASK)
        first = await anext(chunks)
        await chunks.aclose()
        return first.text

    async def run():
        script = [*streamed(piece("a"), end=False), 5.0]
        async with upstream(script) as up:
            backend = Remote(up.url)
            text = await leave(backend, None)
            await asyncio.wait_for(up.closed.wait(), 0.25)
            await backend.close()
            return text

    assert asyncio.run(run()) == "a"


def test_cancelling_a_whole_answer_closes_the_upstream_socket_at_once():
    async def run():
        async with upstream([5.0]) as up:
            backend = Remote(up.url)
            task = asyncio.create_task(backend.generate(ASK))
            await up.asked.wait()
            task.cancel()
            await asyncio.wait_for(up.closed.wait(), 0.25)
            await backend.close()
            return task.cancelled()

    assert asyncio.run(run())


def test_the_other_routes():
    async def plain(backend, deadline):
        return await backend.generate(
            GenerateRequest(model="m", prompt="p", sampling=Sampling(n=1))
        )

    async def vectors(backend, deadline):
        return await backend.embed(EmbedRequest(model="m", input=("a",)))

    async def models(backend, deadline):
        return await backend.models()

    text, up = ask(whole('{"choices":[{"text":"t","index":0}]}'), call=plain)
    found, _ = ask(whole('{"data":[{"embedding":[1.0],"index":0}]}'), call=vectors)
    cards, _ = ask(whole('{"data":[{"id":"a"},{"id":"b"}]}'), call=models)

    assert text.text == "t"
    assert b"POST /v1/completions" in up.requests[0]
    assert found.vectors == ((1.0,),)
    assert [c.id for c in cards] == ["a", "b"]


def test_proxies_of_the_environment_are_ignored(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    reply, _ = ask(whole(REPLY))

    assert reply.text == "hey"
