"""Traces and measures of requests for OpenTelemetry, by its conventions for generative models.

Knows nothing about collectors beyond their address in the environment. A span is made when its request is
over, from what was noted on the way, so the hot path pays for nothing else. The one door to
`opentelemetry`, which is optional. Source: OpenTelemetry semantic conventions, "Gen AI" (v1.37).
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from stead.core.lazy import lazy
from stead.serving import report
from stead.serving.exchange import Exchange

trace = lazy("opentelemetry.trace", extra="otel")
propagate = lazy("opentelemetry.propagate", extra="otel")
sdk_trace = lazy("opentelemetry.sdk.trace", extra="otel")
sdk_export = lazy("opentelemetry.sdk.trace.export", extra="otel")
sdk_metrics = lazy("opentelemetry.sdk.metrics", extra="otel")
sdk_metrics_export = lazy("opentelemetry.sdk.metrics.export", extra="otel")
sdk_resources = lazy("opentelemetry.sdk.resources", extra="otel")
otlp_trace = lazy("opentelemetry.exporter.otlp.proto.http.trace_exporter", extra="otel")
otlp_metrics = lazy("opentelemetry.exporter.otlp.proto.http.metric_exporter", extra="otel")

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_OPERATIONS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
_NANO = 10**9


class Telemetry:
    """Makes a span and three measures of every request to a model; a watcher of the server.

    `tracers` and `meters` are OpenTelemetry's providers.
    """

    def __init__(
        self,
        tracers: Any,  # Any: an optional library
        meters: Any,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._providers = (tracers, meters)
        self._tracer = tracers.get_tracer("stead")
        meter = meters.get_meter("stead")
        self._seconds = meter.create_histogram("gen_ai.server.request.duration", "s")
        self._first = meter.create_histogram("gen_ai.server.time_to_first_token", "s")
        self._tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}")
        self._clock_ns = clock_ns

    def __call__(self, exchange: Exchange, seconds: float) -> None:
        """Tell of one finished request; other routes than a model's are left out."""
        if exchange.call is None or exchange.dialect is None:
            return
        operation = _OPERATIONS.get(exchange.dialect.kind, exchange.dialect.kind)
        about = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "stead",
            "gen_ai.request.model": exchange.model,
        }
        if exchange.code:
            about["error.type"] = exchange.code
        self._measure(exchange, seconds, about)
        end = self._clock_ns()
        span = self._tracer.start_span(
            f"{operation} {exchange.model}",
            context=propagate.extract(_carrier(exchange)),
            kind=trace.SpanKind.SERVER,
            start_time=end - int(seconds * _NANO),
            attributes=about | _details(exchange),
        )
        for attempt in exchange.call.attempts:
            told = {
                "stead.candidate": attempt.candidate,
                "gen_ai.response.model": attempt.model,
                "stead.outcome": attempt.outcome,
                "stead.seconds": attempt.seconds,
            }
            span.add_event("stead.attempt", told)
        if exchange.code or exchange.status >= 500:
            span.set_status(trace.StatusCode.ERROR, exchange.code)
        span.end(end)

    def _measure(self, exchange: Exchange, seconds: float, about: Mapping[str, str]) -> None:
        self._seconds.record(seconds, about)
        if exchange.first_s is not None:
            self._first.record(exchange.first_s, about)
        if exchange.usage is not None:
            used = {
                "input": exchange.usage.prompt_tokens,
                "output": exchange.usage.completion_tokens,
            }
            for kind, count in used.items():
                self._tokens.record(count, {**about, "gen_ai.token.type": kind})

    def close(self) -> None:
        """Send what waits."""
        for provider in self._providers:
            provider.shutdown()


def _carrier(exchange: Exchange) -> dict[str, str]:
    return {"traceparent": exchange.head.trace.decode("latin-1")} if exchange.head.trace else {}


def _details(exchange: Exchange) -> dict[str, str | int | float]:
    found: dict[str, str | int | float] = {
        "http.response.status_code": exchange.status,
        "http.route": exchange.route,
        "stead.request.id": exchange.id,
        "stead.key": exchange.caller.key,
    }
    if exchange.usage is not None:
        found["gen_ai.usage.input_tokens"] = exchange.usage.prompt_tokens
        found["gen_ai.usage.output_tokens"] = exchange.usage.completion_tokens
    cost = report.cost_of(exchange.call)
    if cost is not None:
        found["stead.cost_usd"] = report.dollars(cost)
    return found


def from_environment(environment: Mapping[str, str] | None = None) -> Telemetry | None:
    """Return what sends to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names; None without one.

    Raises: MissingDependency("not-installed") when the variable is set and the libraries are absent.
    """
    found = os.environ if environment is None else environment
    if not found.get(_ENDPOINT):
        return None
    resource = sdk_resources.Resource.create({"service.name": "stead"})
    tracers = sdk_trace.TracerProvider(resource=resource)
    tracers.add_span_processor(sdk_export.BatchSpanProcessor(otlp_trace.OTLPSpanExporter()))
    reader = sdk_metrics_export.PeriodicExportingMetricReader(otlp_metrics.OTLPMetricExporter())
    meters = sdk_metrics.MeterProvider(resource=resource, metric_readers=[reader])
    return Telemetry(tracers, meters)
