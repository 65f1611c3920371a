"""One request and its answer: who asks, what was asked for, and the two channels.

Knows nothing about routes. What is noted here on the way is what the log, the metrics and the
traces tell of the request afterwards.
"""

import math
import sys
import time
import traceback
from collections.abc import Callable
from typing import Protocol

from stead.core.errors import (
    BackendError,
    BackendTimeout,
    BudgetExceeded,
    ResourceError,
    SteadError,
)
from stead.core.ids import new_id
from stead.messages import Call, Usage
from stead.serving import guard
from stead.serving.access import NOBODY, Caller
from stead.serving.stream import Receive, Send
from stead.wire import openai_errors
from stead.wire.dialect import Dialect, status_of

Header = tuple[bytes, bytes]
JSON: Header = (b"content-type", b"application/json")
LEFT = 499  # noted for a client that went before its answer; never sent


class Exchange:
    """One request. `status` 0 means that nothing has been sent; `first_s` is the first content byte's."""

    __slots__ = (
        "begun", "call", "caller", "closing", "code", "dialect", "first_s", "head", "id", "method",
        "model", "path", "query", "receive", "route", "send", "status", "stopped", "tags", "usage",
        "words",
    )  # fmt: skip

    def __init__(self, method: str, path: str, query: bytes, receive: Receive, send: Send) -> None:
        self.id = new_id()
        self.method = method
        self.path = path
        self.query = query
        self.receive = receive
        self.send = send
        self.begun = time.monotonic()
        self.caller: Caller = NOBODY
        self.route = "unknown"  # as written in the table of routes: bounded, fit for a label
        self.model = ""
        self.status = 0
        self.code = ""  # of the error that was told
        self.call: Call | None = None
        self.usage: Usage | None = None
        self.first_s: float | None = None
        self.dialect: Dialect | None = None
        self.words: Callable[[SteadError], bytes] = openai_errors.write_error  # for errors
        self.head: guard.Head
        self.tags: frozenset[str] = frozenset()
        self.stopped = False  # the server ends: this request was cut by us
        self.closing = False  # the connection ends with this answer

    def headers(self, kind: Header) -> list[Header]:
        """Return the headers that every answer has."""
        found = [kind, (b"x-request-id", self.id.encode())]
        if self.closing:
            found.append((b"connection", b"close"))
        return found

    async def reply(
        self,
        body: bytes,
        status: int = 200,
        more: list[Header] | None = None,
        kind: Header = JSON,
    ) -> None:
        """Send a whole answer."""
        headers = [*self.headers(kind), (b"content-length", str(len(body)).encode())]
        if more is not None:
            headers += more
        self.status = status
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def refuse(self, error: SteadError) -> None:
        """Answer with an error, in the words of the route's protocol."""
        write = self.words if self.dialect is None else self.dialect.write_error
        status = status_of(error)
        self.code = error.code
        self.closing |= status == 408  # the rest of that body would keep the connection
        await self.reply(write(error), status, _error_headers(error, status))

    def translate(self, error: Exception) -> SteadError:
        """Return what the client is told; a fault of ours by the request's id only."""
        if isinstance(error, SteadError):
            return self._masked(error)
        if isinstance(error, TimeoutError):
            return BackendTimeout("deadline", "the deadline of the request has passed")
        trace = "".join(traceback.format_exception(error))
        sys.stderr.write(f"request {self.id} failed\n{trace}")
        return SteadError("internal", f"internal error; request {self.id}")

    def _masked(self, error: SteadError) -> SteadError:
        """Keep to ourselves where the store is and what its driver said."""
        if error.code != "database-unavailable":
            return error
        sys.stderr.write(f"request {self.id} failed: {error.message}\n")
        told = f"the store cannot be reached; request {self.id}"
        return ResourceError(error.code, told, status=503, retry_after_s=1)

    def allow(self, *methods: str) -> None:
        """Refuse every other method. Raises: RequestRefused 405."""
        if self.method not in methods:
            raise guard.refused(
                405,
                "method-not-allowed",
                f"{self.method[:20]} is not {' or '.join(methods)}",
                allow=", ".join(methods),
            )


class Routes(Protocol):
    """A group of routes below one path."""

    async def handle(self, exchange: Exchange, rest: str) -> None:
        """Answer; `rest` is the path below the group's own, without its first slash."""


def no_route(path: str) -> SteadError:
    """Return the refusal of a path that nobody answers."""
    return guard.refused(404, "unknown-route", f"there is no route {path[:200]!r}")


def _error_headers(error: SteadError, status: int) -> list[Header]:
    """Return what an error says in headers: when to come back, that retrying is done, what is allowed."""
    headers: list[Header] = []
    wait_s = error.details.get("retry_after_s")
    if wait_s is not None:
        headers.append((b"retry-after", str(math.ceil(float(wait_s))).encode()))
    is_spent = isinstance(error, BudgetExceeded)  # waiting for tomorrow is no retry
    if is_spent or (wait_s is None and isinstance(error, BackendError) and status >= 500):
        headers.append((b"x-should-retry", b"false"))  # clients retry by themselves otherwise
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if "allow" in error.details:
        headers.append((b"allow", str(error.details["allow"]).encode()))
    return headers
