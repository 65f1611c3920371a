"""The access log: one line per request, JSON or text, with nothing secret in it.

Knows nothing about files: finished lines go to the logger `stead.access`, several at a time, because
a record per request costs more than the request's own work.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import msgspec

from stead.core.secret import redact
from stead.serving import report
from stead.serving.exchange import Exchange

_LOGGER = logging.getLogger("stead.access")
_FLUSH_S = 0.25
_FLUSH_LINES = 256
_LONGEST = 200  # letters of a value that a client wrote


class AccessLog:
    """Writes lines; call it with every finished request, and `flush` at the end."""

    def __init__(
        self, format_: Literal["json", "text"] = "json", clock: Callable[[], float] = time.time
    ) -> None:
        self._format = format_
        self._clock = clock
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, exchange: Exchange, seconds: float) -> None:
        """Note one finished request."""
        if not _LOGGER.isEnabledFor(logging.INFO):
            return
        found = facts(exchange, seconds)
        found["time"] = round(self._clock(), 3)
        if self._format == "json":
            line = msgspec.json.encode(found).decode()
        else:
            line = "  ".join(f"{key}={value}" for key, value in found.items())
        self._lines.append(line)
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self.flush)

    def flush(self) -> None:
        """Hand over the lines that wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            text, self._lines = "\n".join(self._lines), []
            _LOGGER.info("%s", text, extra={"ready": True})

    def close(self) -> None:
        """Hand over what is left."""
        self.flush()


def facts(exchange: Exchange, seconds: float) -> dict[str, Any]:  # Any: JSON values
    """Return what is told of a request: never its text, its key or its headers."""
    found: dict[str, Any] = {
        "id": exchange.id,
        "key": exchange.caller.key,
        "method": _clean(exchange.method),
        "path": _clean(exchange.path),
        "model": _clean(exchange.model),
        "status": exchange.status,
        "ms": round(seconds * 1000, 2),
    }
    if exchange.code:
        found["code"] = exchange.code
    if exchange.first_s is not None:
        found["first_ms"] = round(exchange.first_s * 1000, 2)
    if exchange.usage is not None:
        found["prompt_tokens"] = exchange.usage.prompt_tokens
        found["completion_tokens"] = exchange.usage.completion_tokens
    if exchange.call is not None:
        cost = report.cost_of(exchange.call)
        if cost is not None:
            found["cost_usd"] = report.dollars(cost)
        if exchange.call.attempts:
            found["attempts"] = [f"{a.candidate}:{a.outcome}" for a in exchange.call.attempts]
    return found


@lru_cache(maxsize=4096)  # the same few paths and models again and again
def _clean(text: str) -> str:
    """Return what a client wrote without secrets, line ends or control characters."""
    return "".join(c if c.isprintable() else "?" for c in redact(text[:_LONGEST]))
