"""The server of any Backend: answers, refusals, streams, leaving clients, limits."""

import asyncio
import gc
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.asgi import call

from stead.core.errors import BackendError, BackendTimeout, ConfigError, RateLimited, ResourceError
from stead.inference.backends.echo import Echo
from stead.inference.route import ByName
from stead.serving.asgi import App
from stead.serving.settings import Settings, for_address

CHAT, PLAIN, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
ASK = {"model": "echo", "messages": [{"role": "user", "content": "one two  three"}]}
STREAM = ASK | {"stream": True}


class Scripted(Echo):
    """An echo that fails or hangs where it is told to."""

    def __init__(self, error=None, *, after=0, hang=False):
        super().__init__()
        self.error, self.after, self.hang = error, after, hang
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()

    async def _trip(self):
        self.started.set()
        if self.hang:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if self.error is not None:
            raise self.error

    async def generate(self, request, deadline=None):
        await self._trip()
        return await super().generate(request, deadline)

    async def stream(self, request, deadline=None):
        count = 0
        async for chunk in super().stream(request, deadline):
            if count == self.after:
                await self._trip()
            count += 1
            yield chunk

    async def embed(self, request, deadline=None):
        await self._trip()
        return await super().embed(request, deadline)


def app(backend=None, **limits):
    inner = Echo() if backend is None else backend
    return App(ByName({"echo": (inner, "echo")}), Settings(**limits))


def ask(path, body=None, *, of=None, **more):
    return asyncio.run(call(app() if of is None else of, path, body, **more))


def test_chat_completion_embedding_models_and_health():
    chat, plain, vector = (
        ask(CHAT, ASK),
        ask(PLAIN, {"model": "echo", "prompt": "a b"}),
        ask(EMBED, {"model": "echo", "input": ["a", "b"]}),
    )

    assert chat.json["choices"][0]["message"]["content"] == "one two  three"
    assert chat.json["usage"]["total_tokens"] == 6
    assert plain.json["choices"][0]["text"] == "a b"
    assert len(vector.json["data"]) == 2
    assert [m["id"] for m in ask("/v1/models").json["data"]] == ["echo"]
    assert ask("/v1/models/echo").json["id"] == "echo"
    assert ask("/health").json == {"status": "ok"}


def test_several_prompts_come_back_in_order_whole_and_streamed():
    body = {"model": "echo", "prompt": ["a b", "c"], "max_tokens": 5}

    whole = ask(PLAIN, body)
    streamed = ask(PLAIN, body | {"stream": True, "stream_options": {"include_usage": True}})

    assert [c["text"] for c in whole.json["choices"]] == ["a b", "c"]
    assert whole.json["usage"]["total_tokens"] == 6
    events = [json.loads(e) for e in streamed.events[:-1]]
    texts = {0: "", 1: ""}
    for event in events:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == {0: "a b", 1: "c"}
    assert [e["usage"]["total_tokens"] for e in events if e["usage"]] == [6]


def test_a_stream_ends_with_one_reason_and_one_marker():
    answer = ask(CHAT, STREAM | {"stream_options": {"include_usage": True}})

    events = [json.loads(e) for e in answer.events[:-1]]
    choices = [c for e in events for c in e["choices"]]
    assert answer.headers[b"content-type"].startswith(b"text/event-stream")
    assert "".join(c["delta"].get("content", "") for c in choices) == "one two  three"
    assert [c["finish_reason"] for c in choices if c["finish_reason"]] == ["stop"]
    assert events[-1]["usage"]["total_tokens"] == 6
    assert answer.events[-1] == "[DONE]"
    assert answer.done


@pytest.mark.spec("001-053")
@pytest.mark.parametrize(
    ("path", "body", "more", "status", "code"),
    [
        (CHAT, ASK | {"model": "ecko"}, {}, 404, "model_not_found"),
        (CHAT, STREAM | {"model": "ecko"}, {}, 404, "model_not_found"),
        (EMBED, {"model": "x", "input": "a"}, {}, 404, "model_not_found"),
        ("/v1/models/none", None, {}, 404, "model_not_found"),
        ("/v2/chat", ASK, {}, 404, "unknown_route"),
        (CHAT, None, {}, 405, "method_not_allowed"),
        (CHAT, ASK, {"method": "DELETE"}, 405, "method_not_allowed"),
        ("/v1/models", ASK, {}, 405, "method_not_allowed"),
        (CHAT, ASK | {"n": 129}, {}, 400, "invalid_value"),
        (PLAIN, {"model": "echo", "prompt": ["a"] * 3, "n": 100}, {}, 400, "too_many_choices"),
        (CHAT, b"{", {}, 400, "invalid_json"),
        (CHAT, ASK, {"headers": [(b"content-type", b"text/plain")]}, 415, "unsupported_media_type"),
        (CHAT, b"x" * 2000, {}, 413, "body_too_large"),
        (CHAT, ASK, {"headers": [(b"content-length", b"999999999999")]}, 413, "body_too_large"),
        (CHAT, ASK, {"headers": [(b"x", b"a" * 40_000)]}, 431, "headers_too_large"),
        (CHAT, ASK, {"headers": [(b"x", b"a")] * 200}, 431, "headers_too_large"),
    ],
)
def test_refusals(path, body, more, status, code):
    answer = ask(path, body, of=app(body_limit_bytes=1000), **more)

    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.headers[b"content-type"] == b"application/json"
    assert answer.headers[b"x-request-id"]


def test_a_body_in_parts_is_joined_and_bounded():
    data = json.dumps(ASK).encode()

    good = ask(CHAT, parts=[data[:10], data[10:]])
    long = ask(CHAT, parts=[b"x" * 600, b"x" * 600, b"x"], of=app(body_limit_bytes=1000))

    assert good.status == 200
    assert long.status == 413


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"localhost", 200),
        (b"127.0.0.1:8080", 200),
        (b"[::1]:8080", 200),
        (b"LOCALHOST:1", 200),
        (b"evil.tld", 421),
        (b"127.0.0.1.evil.tld", 421),
        (b"localhost.evil", 421),
        (b"127.0.0.2", 421),
        (b"localhost:80@evil", 400),
        (b"localhost/v1/health?", 400),
        (b"a/b#", 400),
        (b"", 400),
        (None, 400),
    ],
)
def test_only_our_own_host_names_are_answered(host, status):
    assert ask("/health", host=host).status == status
    assert ask(CHAT, ASK, host=host).status == status


def test_two_hosts_are_refused():
    assert ask("/health", headers=[(b"host", b"localhost")]).status == 400


@pytest.mark.spec("000-094")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"origin", b"http://localhost:80")], 200),
        ([(b"origin", b"http://localhost:81")], 403),
        ([(b"origin", b"https://evil.tld")], 403),
        ([(b"origin", b"null")], 403),
        ([(b"sec-fetch-site", b"cross-site")], 403),
        ([(b"sec-fetch-site", b"same-origin")], 200),
    ],
)
def test_pages_of_other_origins_may_not_ask_and_nothing_is_echoed(headers, status):
    answer = ask(CHAT, ASK, headers=headers)

    assert answer.status == status
    assert not [h for h in answer.headers if h.startswith(b"access-control")]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Bearer right", 200),
        (b"bearer second", 200),
        (b"Bearer wrong", 401),
        (b"Bearer ", 401),
        (b"Basic right", 401),
        (b"right", 401),
        (None, 401),
    ],
)
def test_keys(header, status):
    guarded = app(api_keys=("right", "second"))
    headers = [] if header is None else [(b"authorization", header)]

    assert ask(CHAT, ASK, of=guarded, headers=headers).status == status
    assert ask("/v1/models", of=guarded, headers=headers).status == status
    assert ask("/health", of=guarded).status == 200


@pytest.mark.parametrize(
    ("error", "status", "code", "header"),
    [
        (
            RateLimited("rate-limited", "wait", retry_after_s=1.2),
            429,
            "rate_limited",
            b"retry-after",
        ),
        (BackendError("upstream-failed", "x"), 502, "upstream_failed", b"x-should-retry"),
        (BackendError("upstream-refused", "x", status=400), 400, "upstream_refused", None),
        (BackendTimeout("deadline", "late"), 504, "deadline", b"x-should-retry"),
        (RuntimeError("secret path /x"), 500, "internal", None),
        (
            ResourceError("database-unavailable", "secret host", status=503, retry_after_s=1),
            503,
            "database_unavailable",
            b"retry-after",
        ),
    ],
)
def test_faults_before_the_first_chunk_have_an_honest_status(error, status, code, header, capsys):
    for body in (ASK, STREAM):
        answer = ask(CHAT, body, of=app(Scripted(error)))

        assert (answer.status, answer.error["code"]) == (status, code)
        assert header is None or header in answer.headers
        assert "secret" not in answer.body.decode()


@pytest.mark.parametrize("error", [BackendError("connection-lost", "gone"), RuntimeError("secret")])
def test_a_fault_after_the_first_chunk_is_one_error_event_without_the_marker(error, capsys):
    answer = ask(CHAT, STREAM, of=app(Scripted(error, after=2)))

    texts = [json.loads(e) for e in answer.events]
    assert answer.status == 200
    assert "error" in texts[-1]
    assert sum("error" in t for t in texts) == 1
    assert "[DONE]" not in answer.body.decode()
    assert "secret" not in answer.body.decode()
    assert answer.done


def test_a_stream_without_its_end_is_an_error():
    class Cut(Echo):
        async def stream(self, request, deadline=None):
            async for chunk in super().stream(request, deadline):
                if chunk.finish_reason is None:
                    yield chunk

    answer = ask(CHAT, STREAM, of=app(Cut()))

    assert json.loads(answer.events[-1])["error"]["code"] == "stream_cut"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, ASK),
        (CHAT, STREAM),
        (PLAIN, {"model": "echo", "prompt": "a"}),
        (EMBED, {"model": "echo", "input": "a"}),
    ],
)
def test_a_client_that_leaves_cancels_the_work_and_frees_its_place(path, body):
    async def run():
        backend = Scripted(hang=True)
        server = app(backend, concurrency=1)
        leave = asyncio.Event()
        task = asyncio.create_task(call(server, path, body, leave=leave))
        await backend.started.wait()
        leave.set()
        await asyncio.wait_for(backend.cancelled.wait(), 0.25)
        await asyncio.wait_for(task, 1)
        return task.result(), server

    answer, server = asyncio.run(run())

    assert answer.status is None
    assert server._admit.active == 0


def test_a_client_that_leaves_mid_stream_cancels_too():
    async def run():
        backend = Scripted(hang=True, after=1)
        leave = asyncio.Event()
        task = asyncio.create_task(call(app(backend), CHAT, STREAM, leave=leave))
        await backend.started.wait()
        leave.set()
        await asyncio.wait_for(backend.cancelled.wait(), 0.25)
        return await task

    answer = asyncio.run(run())

    assert len(answer.events) == 1
    assert not answer.done


def test_a_failure_that_comes_as_the_client_leaves_is_nobodys_any_more():
    """Seen in the soak: asyncio logged a traceback for an error that nobody was left to be told of."""

    class Failing(Scripted):
        async def stream(self, request, deadline=None):
            self.started.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                raise BackendError("upstream-failed", "no") from None
            yield

    async def run():
        unheard = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: unheard.append(told))
        backend = Failing()
        leave = asyncio.Event()
        task = asyncio.create_task(call(app(backend), CHAT, STREAM, leave=leave))
        await backend.started.wait()
        leave.set()
        await task
        del task
        gc.collect()
        await asyncio.sleep(0)
        return unheard

    assert asyncio.run(run()) == []


def test_a_client_that_leaves_within_its_body_is_no_fault():
    async def run():
        async def receive():
            return {"type": "http.disconnect"}

        sent = []

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "path": CHAT,
            "method": "POST",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }
        await app()(scope, receive, send)
        return sent

    assert asyncio.run(run()) == []


@pytest.mark.spec("004-022")
def test_never_more_than_the_limit_at_work_and_a_full_queue_is_told():
    class Counting(Echo):
        now = most = 0

        async def generate(self, request, deadline=None):
            Counting.now += 1
            Counting.most = max(Counting.most, Counting.now)
            await asyncio.sleep(0.02)
            Counting.now -= 1
            return await super().generate(request, deadline)

    async def run():
        server = app(Counting(), concurrency=2, queue=3)
        return await asyncio.gather(*(call(server, CHAT, ASK) for _ in range(9)))

    answers = asyncio.run(run())

    refused = [a for a in answers if a.status == 503]
    assert Counting.most == 2
    assert len(refused) == 4
    assert all(a.headers[b"retry-after"] == b"1" for a in refused)
    assert {a.error["code"] for a in refused} == {"overloaded"}


def test_a_wait_in_the_queue_is_bounded():
    async def run():
        server = app(Scripted(hang=True), concurrency=1, queue_wait_s=0.05)
        leave = asyncio.Event()
        first = asyncio.create_task(call(server, CHAT, ASK, leave=leave))
        await asyncio.sleep(0.01)
        second = await call(server, CHAT, ASK)
        leave.set()
        await first
        return second

    assert asyncio.run(run()).status == 503


def test_a_slow_first_token_sends_headers_and_comments():
    answer = ask(CHAT, STREAM, of=app(Echo(delay_s=0.12), first_event_s=0.05))

    assert answer.parts[0].startswith(b": waiting")
    assert answer.events[-1] == "[DONE]"


def test_the_deadline_ends_whole_and_streamed_answers():
    slow = app(Echo(delay_s=0.2), deadline_s=0.1)

    whole, streamed = ask(CHAT, ASK, of=slow), ask(CHAT, STREAM, of=slow)

    assert (whole.status, whole.error["code"]) == (504, "deadline")
    assert (streamed.status, streamed.error["code"]) == (504, "deadline")


keys = st.sampled_from([*ASK, "n", "stop", "stream", "tools", "logprobs", "prompt", "input", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([CHAT, PLAIN, EMBED]), st.dictionaries(keys, values, max_size=4), st.booleans()
)
def test_no_body_is_a_fault_of_ours(path, change, valid):
    base = {
        CHAT: ASK,
        PLAIN: {"model": "echo", "prompt": "a"},
        EMBED: {"model": "echo", "input": "a"},
    }

    answer = ask(path, (base[path] if valid else {}) | change)

    assert answer.status in {200, 400, 404}


def test_other_protocols_and_the_life_of_the_server():
    async def run():
        sent = []
        messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message["type"])

        await app()({"type": "lifespan"}, receive, send)
        await app()({"type": "websocket"}, receive, send)
        return sent

    assert asyncio.run(run()) == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
        "websocket.close",
    ]


@pytest.mark.spec("000-094")
@pytest.mark.parametrize("host", ["0.0.0.0", "203.0.113.5", "::", "example.org"])
def test_an_address_others_reach_needs_a_key(host):
    with pytest.raises(ConfigError) as caught:
        for_address(host)

    assert caught.value.code == "no-key"
    assert for_address(host, api_keys=("k",)).api_keys == ("k",)


def test_a_wildcard_address_answers_to_addresses_and_given_names_only():
    settings_ = for_address("0.0.0.0", api_keys=("k",), allowed_hosts=("box.lan",))
    server = App(ByName({"echo": (Echo(), "echo")}), settings_)

    assert ask("/health", of=server, host=b"203.0.113.5:80").status == 200
    assert ask("/health", of=server, host=b"box.lan").status == 200
    assert ask("/health", of=server, host=b"evil.tld").status == 421
