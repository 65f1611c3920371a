"""OpenTelemetry: a span by the conventions per request to a model, and its measures."""

import asyncio

import pytest
from tests.fakes.asgi import call

from stead.core.errors import BackendError
from stead.inference.backends.echo import Echo
from stead.serving.asgi import App
from stead.serving.settings import Settings
from stead.serving.telemetry import Telemetry, from_environment

CHAT = "/v1/chat/completions"
ASK = {"model": "echo", "messages": [{"role": "user", "content": "one two"}]}
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Failing(Echo):
    async def generate(self, request, deadline=None):
        raise BackendError("upstream-failed", "no")


@pytest.fixture
def collected():
    export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    spans, reader = export.InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    found = Telemetry(tracers, MeterProvider(metric_readers=[reader]))
    yield found, spans, reader
    found.close()


@pytest.mark.spec("004-024")
def test_every_request_to_a_model_is_a_span_with_its_parent_and_measures(collected):
    telemetry, spans, reader = collected

    async def run():
        good = App(Echo(), Settings(), watchers=[telemetry])
        await call(good, CHAT, ASK, headers=[(b"traceparent", PARENT)])
        await call(good, "/v1/models")
        await call(App(Failing(), Settings(), watchers=[telemetry]), CHAT, ASK)

    asyncio.run(run())

    good, bad = spans.get_finished_spans()
    data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    assert good.name == "chat echo"
    assert good.attributes["gen_ai.operation.name"] == "chat"
    assert good.attributes["gen_ai.usage.output_tokens"] == 2
    assert f"{good.context.trace_id:032x}" == PARENT.split(b"-")[1].decode()
    assert f"{good.parent.span_id:016x}" == PARENT.split(b"-")[2].decode()
    assert good.end_time >= good.start_time
    assert bad.attributes["error.type"] == "upstream-failed"
    assert not bad.status.is_ok
    assert {m.name for m in data} == {
        "gen_ai.server.request.duration",
        "gen_ai.server.time_to_first_token",
        "gen_ai.client.token.usage",
    }


def test_without_a_collector_it_is_off():
    assert from_environment({}) is None
