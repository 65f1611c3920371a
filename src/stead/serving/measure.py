"""What a server counts: requests, seconds, tokens, money, attempts, and what is at work just now.

Knows nothing about who reads it. A model's name becomes a label only after somebody answered for it:
what strangers invent stays out.
"""

import resource
from collections.abc import Callable, Iterable

from stead.core.metrics import CONTENT_TYPE, Metrics
from stead.serving.exchange import Exchange

_PICO = 1e12  # picodollars in a dollar
_UNKNOWN = "unknown"
Read = Callable[[], Iterable[tuple[tuple[str, ...], float]]]


class Measured:
    """The metrics of one server, and the route `/metrics`. Call it with every finished request."""

    def __init__(
        self, metrics: Metrics, *, active: Callable[[], int], waiting: Callable[[], int]
    ) -> None:
        self.metrics = made = metrics
        self._requests = made.counter(
            "stead_requests_total", "Requests answered.", "route", "model", "status"
        )
        self._seconds = made.histogram(
            "stead_request_seconds", "Seconds from a request to the end of its answer.", "route"
        )
        self._first = made.histogram(
            "stead_first_content_seconds", "Seconds until the first content byte.", "model"
        )
        self._tokens = made.counter("stead_tokens_total", "Tokens used.", "model", "kind")
        self._cost = made.counter("stead_cost_usd_total", "US dollars spent.", "model")
        self._attempts = made.counter(
            "stead_attempts_total", "Requests sent to endpoints.", "candidate", "outcome"
        )
        made.gauge("stead_active", "Requests at work.", read=lambda: [((), active())])
        made.gauge("stead_queued", "Requests that wait.", read=lambda: [((), waiting())])
        made.gauge("stead_peak_memory_bytes", "Most memory this process had.", read=_memory)

    def breakers(self, read: Read) -> None:
        """Show circuit breakers: 0 closed, 1 half open, 2 open, by candidate."""
        self.metrics.gauge(
            "stead_breaker_state", "0 closed, 1 half open, 2 open.", "candidate", read=read
        )

    def __call__(self, exchange: Exchange, seconds: float) -> None:
        """Count one finished request."""
        answered = exchange.status < 400 and exchange.status != 0
        model = exchange.model if answered and exchange.model else _UNKNOWN
        self._requests.add(1, exchange.route, model, str(exchange.status))
        self._seconds.observe(seconds, exchange.route)
        if answered and exchange.first_s is not None:
            self._first.observe(exchange.first_s, model)
        if exchange.usage is not None:
            self._tokens.add(exchange.usage.prompt_tokens, model, "prompt")
            self._tokens.add(exchange.usage.completion_tokens, model, "completion")
        if exchange.call is not None and exchange.call.attempts:
            for attempt in exchange.call.attempts:
                self._attempts.add(1, attempt.candidate, attempt.outcome)
                if attempt.cost is not None:
                    self._cost.add(attempt.cost / _PICO, model)

    async def handle(self, exchange: Exchange, rest: str) -> None:
        """Answer `GET /metrics`."""
        exchange.allow("GET")
        body = self.metrics.render().encode()
        await exchange.reply(body, kind=(b"content-type", CONTENT_TYPE))


def _memory() -> list[tuple[tuple[str, ...], float]]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return [((), peak * 1024.0)]  # KiB on Linux
