"""Ollama's routes on our server: lines, silence while waiting, its own error words, its information."""

import asyncio
import json

import pytest
from tests.fakes.asgi import call
from tests.unit.serving.test_asgi import Scripted, app, ask

from stead.core.errors import BackendError
from stead.inference.backends.echo import Echo
from stead.serving.asgi import App
from stead.serving.settings import Settings

CHAT, PLAIN = "/api/chat", "/api/generate"
BODY = {"model": "echo", "messages": [{"role": "user", "content": "one two"}]}


def lines(answer):
    return [json.loads(line) for line in answer.body.splitlines()]


def test_an_answer_is_a_stream_of_lines_unless_told_otherwise():
    streamed, whole = ask(CHAT, BODY), ask(CHAT, BODY | {"stream": False})

    found = lines(streamed)
    assert streamed.headers[b"content-type"] == b"application/x-ndjson"
    assert "".join(x["message"]["content"] for x in found) == "one two"
    assert [x["done"] for x in found] == [False] * (len(found) - 1) + [True]
    assert found[-1]["done_reason"] == "stop"
    assert whole.headers[b"content-type"] == b"application/json"
    assert whole.json["message"]["content"] == "one two"
    assert whole.json["prompt_eval_count"] == found[-1]["prompt_eval_count"] == 2
    assert whole.json["total_duration"] > 0


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_says_that_somebody_is_here_and_asks_for_no_key(method):
    answer = ask("/", method=method, of=App(Echo(), Settings(api_keys=("k",))))

    assert (answer.status, answer.body) == (200, b"stead is running")
    assert answer.headers[b"content-type"].startswith(b"text/plain")


def test_nothing_is_sent_while_waiting_so_a_late_error_keeps_its_status():
    class Late(Scripted):
        async def _trip(self):
            await asyncio.sleep(0.15)
            raise BackendError("upstream-overloaded", "it is busy", status=503)

    late = ask(CHAT, BODY, of=app(Late(), first_event_s=0.05))

    assert (late.status, late.json) == (503, {"error": "it is busy"})


def test_an_error_after_the_first_line_is_the_last_line():
    broken = ask(CHAT, BODY, of=app(Scripted(BackendError("x", "it broke"), after=1)))

    found = lines(broken)
    assert broken.status == 200
    assert found[0]["message"]["content"] == "one"
    assert found[-1] == {"error": "it broke"}
    assert not any(x.get("done") for x in found)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_cancels_the_work(stream):
    async def run():
        backend, leave = Scripted(hang=True), asyncio.Event()
        asking = asyncio.create_task(
            call(app(backend), CHAT, BODY | {"stream": stream}, leave=leave)
        )
        await backend.started.wait()
        leave.set()
        async with asyncio.timeout(0.25):
            await backend.cancelled.wait()
        await asking

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "body", "method", "status", "word"),
    [
        (CHAT, BODY | {"model": "ecko"}, None, 404, "ecko"),
        (CHAT, BODY | {"foo": 1}, None, 400, "foo"),
        (CHAT, b"{", None, 400, "JSON"),
        (CHAT, None, "GET", 405, "POST"),
        (PLAIN, {"model": "echo", "prompt": "x", "context": [1]}, None, 400, "/api/chat"),
        ("/api/show", {"model": "ecko"}, None, 404, "ecko"),
        ("/api/show", {}, None, 400, "model"),
        ("/api/show", None, "GET", 405, "POST"),
        ("/api/tags", {}, None, 405, "GET"),
        ("/api/tags/x", None, None, 404, "/api/tags/x"),
        ("/api/pull", {"model": "echo"}, None, 404, "/api/pull"),
    ],
)
def test_refusals_are_one_text(path, body, method, status, word):
    answer = ask(path, body, method=method)

    assert answer.status == status
    assert set(answer.json) == {"error"}
    assert word in answer.json["error"]


def test_information_as_clients_read_it():
    tags, running = ask("/api/tags").json["models"], ask("/api/ps").json["models"]
    shown = ask("/api/show", {"model": "echo"}, of=App(Echo(), Settings())).json

    assert [m["model"] for m in tags] == [m["name"] for m in running] == ["echo"]
    assert shown["capabilities"] == ["completion", "embedding"]
    assert ask("/api/version").json["version"].count(".") == 2
    assert ask("/api/show", {"name": "echo"}).status == 200


def test_gemini_is_not_served():
    path = "/v1beta/models/echo:generateContent"

    assert ask(path, {"contents": []}).status == 404
