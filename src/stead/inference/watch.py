"""What a strategy tells of each request: a log line, counts, a trace of its attempts, alarms.

Knows nothing about files or consoles: it logs to `stead.strategy.<name>`, traces to
`stead.performance.trace.<name>`, and counts in the `Metrics` it is given.
"""

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from stead.core import seeds
from stead.core.metrics import Metrics
from stead.inference.backend import Backend, close_stream
from stead.inference.candidate import Request
from stead.inference.wrapper import Wrapper
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, Reply

_WINDOW = 100  # requests that an alarm looks at
_FEWEST = 20  # below, one slow request would be an alarm
_QUIET_S = 300.0  # between two equal alarms
_PERCENTILE = 0.95


@dataclass(frozen=True, slots=True)
class Alarm:
    """What raises an alarm: `kind` "latency" (threshold in ms) or "error_rate" (share of 1)."""

    kind: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Watch:
    """What is told of a strategy's requests. `trace_share` 0 traces none."""

    name: str
    level: str = "INFO"
    trace_share: float = 0.0
    alarms: Sequence[Alarm] = ()
    metrics: Metrics | None = None


class Watched(Wrapper):
    """`inner`, with every request written down. Logging costs nothing below the level."""

    def __init__(
        self, inner: Backend, watch: Watch, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(inner)
        self._watch = watch
        self._clock = clock
        self._log = logging.getLogger(f"stead.strategy.{watch.name}")
        self._log.setLevel(watch.level)
        self._trace = logging.getLogger(f"stead.performance.trace.{watch.name}")
        self._recent: deque[tuple[float, bool]] = deque(maxlen=_WINDOW)
        self._raised: dict[Alarm, float] = {}
        self._seen = 0
        metrics = watch.metrics
        if metrics is not None:
            labels = ("strategy", "outcome")
            self._requests = metrics.counter(
                "stead_strategy_requests_total", "Requests of a strategy.", *labels
            )
            self._seconds = metrics.histogram(
                "stead_strategy_seconds", "Time until the end of the answer.", "strategy"
            )
            self._alerts = metrics.counter(
                "stead_strategy_alerts_total", "Alarms of a strategy.", "strategy", "type"
            )

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        begun, outcome = self._begin(request), "failed"
        try:
            reply = await self.inner.generate(request, deadline)
            outcome = "ok"
            return reply
        finally:
            self._end(request, begun, outcome)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        begun, outcome = self._begin(request), "failed"
        chunks = self.inner.stream(request, deadline)
        try:
            async for chunk in chunks:
                yield chunk
            outcome = "ok"
        except GeneratorExit:
            outcome = "cancelled"
            raise
        finally:
            self._end(request, begun, outcome)
            await close_stream(chunks)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        begun, outcome = self._begin(request), "failed"
        try:
            reply = await self.inner.embed(request, deadline)
            outcome = "ok"
            return reply
        finally:
            self._end(request, begun, outcome)

    def _begin(self, request: Request) -> float:
        if self._log.isEnabledFor(logging.DEBUG):
            self._log.debug("asked", extra={"fields": _who(request)})
        return self._clock()

    def _end(self, request: Request, begun: float, outcome: str) -> None:
        seconds = self._clock() - begun
        level = logging.WARNING if outcome == "failed" else logging.INFO
        if self._log.isEnabledFor(level):
            fields = _who(request) | {"ms": round(seconds * 1000, 1)} | _what(request)
            self._log.log(level, outcome, extra={"fields": fields})
        name = self._watch.name
        if self._watch.metrics is not None:
            self._requests.add(1, name, outcome)
            self._seconds.observe(seconds, name)
        self._seen += 1
        if self._watch.trace_share > 0 and self._is_traced(request):
            self._write_trace(request, seconds, outcome)
        if self._watch.alarms:
            self._recent.append((seconds, outcome == "failed"))
            self._alarm()

    def _is_traced(self, request: Request) -> bool:
        """Choose by the request's id, so that every process chooses the same."""
        name = str(self._seen) if request.call is None else request.call.id
        return seeds.stream(0, 0, f"trace-{name}") < self._watch.trace_share * 2**63

    def _write_trace(self, request: Request, seconds: float, outcome: str) -> None:
        attempts = () if request.call is None else request.call.attempts
        steps = [
            {
                "candidate": a.candidate,
                "model": a.model,
                "ms": round(a.seconds * 1000, 1),
                "outcome": a.outcome,
                "code": a.code,
            }
            for a in attempts
        ]
        fields = {"outcome": outcome, "ms": round(seconds * 1000, 1), "attempts": steps}
        self._trace.info("trace", extra={"fields": _who(request) | fields})

    def _alarm(self) -> None:
        if len(self._recent) < _FEWEST:
            return
        now = self._clock()
        for alarm in self._watch.alarms:
            value = self._value(alarm.kind)
            last = self._raised.get(alarm)
            if value <= alarm.threshold or (last is not None and now - last < _QUIET_S):
                continue
            self._raised[alarm] = now
            self._log.critical(
                "alert: %s %.4g exceeds %.4g",
                alarm.kind,
                value,
                alarm.threshold,
                extra={"fields": {"alert": alarm.kind, "value": value}},
            )
            if self._watch.metrics is not None:
                self._alerts.add(1, self._watch.name, alarm.kind)

    def _value(self, kind: str) -> float:
        if kind == "error_rate":
            return sum(failed for _, failed in self._recent) / len(self._recent)
        times = sorted(seconds for seconds, _ in self._recent)
        return times[min(len(times) - 1, int(_PERCENTILE * len(times)))] * 1000


def _who(request: Request) -> dict[str, object]:
    called = {} if request.call is None else {"id": request.call.id, "key": request.call.key}
    return {**called, "model": request.model}


def _what(request: Request) -> dict[str, object]:
    call = request.call
    if call is None:
        return {}
    used = [a.usage for a in call.attempts if a.usage is not None]
    return {
        "answered": next((a.candidate for a in call.attempts if a.outcome == "ok"), None),
        "attempts": len(call.attempts),
        "tokens": sum(u.total_tokens for u in used),
        "deviations": len(call.deviations),
    }
