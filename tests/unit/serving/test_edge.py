"""The edge: who asks, what is told of an answer, the log, the metrics, the drain."""

import asyncio
import json
import logging

import ollama
import pytest
from msgspec.structs import replace
from tests.fakes.asgi import call

from stead.core.metrics import Counter, Histogram, Metrics
from stead.inference.backends.echo import Echo
from stead.messages import Attempt, Deviation, ModelCard
from stead.serving.access import Caller, key_id
from stead.serving.access_log import AccessLog
from stead.serving.asgi import App
from stead.serving.report import dollars
from stead.serving.settings import Settings

CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"
ASK = {"model": "echo", "messages": [{"role": "user", "content": "one two"}]}
STREAM = ASK | {"stream": True, "stream_options": {"include_usage": True}}
KEY = "sk-" + "s3cr3t" * 5


class Doing(Echo):
    """An echo that notes the requests, an attempt with its price, and a deviation."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = []

    def _note(self, request):
        self.seen.append(request)
        attempt = Attempt(candidate="first", model="m", outcome="failed", code="x")
        paid = Attempt(candidate="second", model="m", outcome="ok", cost=1_500_000)
        request.call.attempts += [attempt, paid]
        request.call.deviations.append(Deviation("fallback_used", "first → second"))

    async def generate(self, request, deadline=None):
        self._note(request)
        reply = await super().generate(request, deadline)
        return replace(reply, deviations=(Deviation("param_dropped", "seed"),))

    async def stream(self, request, deadline=None):
        self._note(request)
        async for chunk in super().stream(request, deadline):
            yield chunk

    async def models(self):
        return [ModelCard(id="echo"), ModelCard(id="other")]


def ask(app, path, body=None, **more):
    return asyncio.run(call(app, path, body, **more))


def test_deviations_model_and_cost_are_told_in_headers_and_body():
    answer = ask(App(Doing(), Settings()), CHAT, ASK)

    told = json.loads(answer.headers[b"x-stead-deviations"])
    assert [d["kind"] for d in told] == ["fallback_used", "param_dropped"]
    assert answer.headers[b"x-stead-deviations"].isascii()
    assert answer.headers[b"x-stead-model"] == b"echo"
    assert answer.headers[b"x-stead-cost"] == b"0.0000015"
    assert answer.json["stead"]["deviations"] == told
    assert [a["outcome"] for a in answer.json["stead"]["attempts"]] == ["failed", "ok"]
    assert answer.json["choices"][0]["message"]["content"] == "one two"


def test_a_stream_tells_them_in_its_head_and_in_a_last_comment():
    answer = ask(App(Doing(), Settings()), CHAT, STREAM)

    comment = next(p for p in answer.body.decode().split("\n\n") if p.startswith(": stead "))
    assert json.loads(answer.headers[b"x-stead-deviations"])[0]["kind"] == "fallback_used"
    assert json.loads(comment[8:])["cost_usd"] == "0.0000015"
    assert answer.events[-1] == "[DONE]"


def test_a_stream_of_lines_tells_them_in_its_last_object():
    asked = {"model": "echo", "messages": [{"role": "user", "content": "one two"}]}

    answer = ask(App(Doing(), Settings()), "/api/chat", asked)
    plain = ask(App(Echo(), Settings()), "/api/chat", asked)

    *lines, last = [json.loads(line) for line in answer.body.splitlines()]
    assert ["stead" in line for line in lines] == [False] * len(lines)
    assert [d["kind"] for d in last["stead"]["deviations"]] == ["fallback_used"]
    assert (last["stead"]["cost_usd"], last["done"]) == ("0.0000015", True)
    assert ollama.ChatResponse(**last).eval_count == last["eval_count"]
    assert b"stead" not in plain.body


def test_nothing_is_told_where_nothing_was_done_differently():
    answer = ask(App(Echo(), Settings()), CHAT, ASK)
    stream = ask(App(Echo(), Settings()), CHAT, STREAM)

    assert b"x-stead-deviations" not in answer.headers
    assert "stead" not in answer.json
    assert ": stead" not in stream.body.decode()


@pytest.mark.parametrize(
    ("cost", "text"),
    [(0, "0.0"), (1, "0.000000000001"), (10**12, "1.0"), (1_230_000_000_000, "1.23")],
)
def test_picodollars_are_dollars_exactly(cost, text):
    assert dollars(cost) == text


@pytest.mark.spec("000-068")
def test_the_call_carries_id_key_tags_and_strictness():
    backend = Doing()
    app = App(backend, Settings(api_keys=(KEY,)))
    headers = [(b"x-api-key", KEY.encode()), (b"x-stead-tags", b"urgent, team:a"),
               (b"x-stead-strict", b"true")]  # fmt: skip

    answer = ask(app, CHAT, ASK, headers=headers)
    bad = ask(app, CHAT, ASK, headers=[headers[0], (b"x-stead-tags", b"a,b c")])

    request = backend.seen[0]
    assert request.call.id.encode() == answer.headers[b"x-request-id"]
    assert request.call.key == key_id(KEY)
    assert request.call.tags == {"urgent", "team:a"}
    assert request.strict
    assert (bad.status, bad.error["code"]) == (400, "bad_tags")


class Narrow:
    """Keys of which one may ask for one model only."""

    async def check(self, token):
        return Caller(key=token, models=frozenset({"echo"}) if token == "narrow" else None)

    async def recall(self, key):
        return await self.check(key)


def test_a_key_asks_only_for_its_models_and_sees_no_others():
    app = App(Doing(), Settings(), access=Narrow())
    narrow, wide = [(b"x-api-key", b"narrow")], [(b"x-api-key", b"wide")]

    refused = ask(app, CHAT, ASK | {"model": "other"}, headers=narrow)
    missing = ask(app, CHAT, ASK | {"model": "never"}, headers=narrow)

    assert refused.status == missing.status == 404
    assert refused.body.replace(b"other", b"never") == missing.body
    assert ask(app, CHAT, ASK | {"model": "other"}, headers=wide).status == 200
    assert [m["id"] for m in ask(app, "/v1/models", headers=narrow).json["data"]] == ["echo"]
    assert ask(app, "/v1/models/other", headers=narrow).status == 404
    assert ask(app, "/v1/models/other", headers=wide).status == 200


@pytest.mark.spec("004-024")
@pytest.mark.parametrize("format_", ["json", "text"])
def test_the_access_log_has_a_line_per_request_and_no_secret(caplog, format_):
    caplog.set_level(logging.INFO, "stead.access")
    log = AccessLog(format_, clock=lambda: 5.0)
    app = App(Doing(), Settings(api_keys=(KEY,)), watchers=[log])
    key = [(b"authorization", b"Bearer " + KEY.encode())]

    async def run():
        await call(app, CHAT, ASK, headers=key)
        await call(app, CHAT, STREAM, headers=key)
        await call(app, f"/v1/x?{KEY}\r\n{KEY}", headers=key)
        await call(
            app, CHAT, ASK | {"model": KEY}, headers=[(b"x-api-key", b"wrong" + KEY.encode())]
        )
        await call(app, CHAT, ASK | {"model": f"a\n{KEY}"}, headers=key)
        log.flush()

    asyncio.run(run())

    text = "\n".join(r.getMessage() for r in caplog.records)
    lines = text.split("\n")
    assert len(lines) == 5
    assert KEY not in text
    assert "one two" not in text
    if format_ == "json":
        rows = [json.loads(x) for x in lines]
        assert [r["status"] for r in rows] == [200, 200, 404, 401, 200]
        assert rows[0]["attempts"] == ["first:failed", "second:ok"]
        assert rows[0]["cost_usd"] == rows[1]["cost_usd"] == "0.0000015"
        assert rows[0]["completion_tokens"] == rows[1]["completion_tokens"] == 2
        assert rows[3]["code"] == "invalid-api-key"
        assert rows[1]["ms"] >= rows[1]["first_ms"] > 0
        assert {r["key"] for r in rows} == {key_id(KEY), ""}


def test_metrics_count_requests_tokens_attempts_and_hide_invented_models():
    app = App(Doing(), Settings())
    for body in (ASK, STREAM, ASK | {"temperature": 9}):
        ask(app, CHAT, body)
    ask(app, "/v1/nonsense/123")

    text = ask(app, "/metrics").body.decode()

    assert f'stead_requests_total{{route="{CHAT}",model="echo",status="200"}} 2' in text
    assert f'stead_requests_total{{route="{CHAT}",model="unknown",status="400"}} 1' in text
    assert 'stead_requests_total{route="unknown",model="unknown",status="404"} 1' in text
    assert 'stead_tokens_total{model="echo",kind="completion"} 4' in text
    assert 'stead_attempts_total{candidate="second",outcome="ok"} 2' in text
    assert 'stead_cost_usd_total{model="echo"} 3e-06' in text
    assert "stead_active 1" in text
    assert "nonsense" not in text


def test_metrics_render_as_prometheus_reads_them():
    made = Metrics()
    made.counter("c_total", "A counter.", "name").add(2, 'a"\\\n')
    seconds = made.add(Histogram("h", "A histogram.", (), (0.1, 1.0)))
    for value in (0.05, 0.1, 0.5, 7):
        seconds.observe(value)
    made.gauge("g", "A gauge.").set(1.5)

    assert made.render().splitlines() == [
        "# HELP c_total A counter.",
        "# TYPE c_total counter",
        'c_total{name="a\\"\\\\\\n"} 2',
        "# HELP h A histogram.",
        "# TYPE h histogram",
        'h_bucket{le="0.1"} 2',
        'h_bucket{le="1"} 3',
        'h_bucket{le="+Inf"} 4',
        "h_sum 7.65",
        "h_count 4",
        "# HELP g A gauge.",
        "# TYPE g gauge",
        "g 1.5",
    ]
    assert made.counter("c_total", "again", "name").values
    with pytest.raises(ValueError, match="c_total"):
        made.gauge("c_total", "")


def test_series_of_a_metric_are_bounded():
    found = Counter("c", "", ("x",))
    for i in range(5000):
        found.add(1, str(i))

    assert len(found.values) <= 2001
    assert sum(found.values.values()) == 5000


def test_a_drain_refuses_the_new_finishes_the_old_and_cuts_with_a_word():
    async def run():
        app = App(Echo(delay_s=0.05), Settings())
        long = STREAM | {"messages": [{"role": "user", "content": "a " * 100}]}
        short, cut = (asyncio.create_task(call(app, CHAT, b)) for b in (STREAM, long))
        whole = asyncio.create_task(
            call(app, CHAT, long | {"stream": False, "stream_options": None})
        )
        await asyncio.sleep(0.08)
        app.drain()
        new = await call(app, CHAT, ASK)
        await short
        app.cut()
        return new, await short, await cut, await whole, app.active

    new, short, cut, whole, active = asyncio.run(run())

    assert (new.status, new.headers[b"connection"]) == (503, b"close")
    assert int(new.headers[b"retry-after"]) > 0
    assert short.events[-1] == "[DONE]"
    assert json.loads(cut.events[-1])["error"]["code"] == "stopping"
    assert sum("error" in json.loads(e) for e in cut.events) == 1
    assert cut.done
    assert (whole.status, whole.error["code"]) == (503, "stopping")
    assert active == []


@pytest.mark.spec("001-055")
def test_a_fault_of_ours_is_told_by_its_id_only(capsys):
    class Broken(Echo):
        async def generate(self, request, deadline=None):
            raise RuntimeError(f"/private/path {KEY}")

    answer = ask(App(Broken(), Settings()), CHAT, ASK)

    assert answer.status == 500
    assert answer.headers[b"x-request-id"].decode() in answer.error["message"]
    assert not any(
        w in answer.body.decode() for w in ("/private", KEY, "Traceback", "RuntimeError")
    )
