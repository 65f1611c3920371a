"""The newest requests of the gateway, for whoever watches; counted on, bounded, forgotten at the end.

Knows nothing about how they are answered or shown.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from stead.serving.exchange import Exchange

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that is over. Time in Unix seconds; `status` 499: the client left."""

    number: int
    at: float
    id: str
    route: str
    model: str
    status: int
    code: str
    seconds: float
    first_s: float | None
    key: str
    prompt_tokens: int | None
    completion_tokens: int | None


class Requests:
    """A watcher of `serving.asgi.App`. Reading costs the requests nothing."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seen: deque[Seen] = deque(maxlen=_KEPT)
        self._count = 0

    def __call__(self, exchange: Exchange, seconds: float) -> None:
        """Remember a request."""
        usage = exchange.usage
        self._count += 1
        self._seen.append(
            Seen(
                self._count, self._clock(), exchange.id, exchange.route, exchange.model,
                exchange.status, exchange.code, seconds, exchange.first_s, exchange.caller.key,
                None if usage is None else usage.prompt_tokens,
                None if usage is None else usage.completion_tokens,
            )
        )  # fmt: skip

    def after(self, number: int = 0) -> list[Seen]:
        """Return what came after that number, oldest first; at most the newest thousand."""
        return [seen for seen in self._seen if seen.number > number]

    def close(self) -> None:
        """Nothing to close."""
