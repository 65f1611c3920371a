"""The one door to HTTP: pooled connections, three waits and one deadline, bounded answers.

Knows nothing about who is called or why. The environment's proxies are ignored, cookies dropped,
redirects never followed and compressed answers refused, so what was asked is what is reached.
Addresses supplied by strangers need the address guard on top; this door trusts its caller's URL.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from stead.core.errors import BackendError, BackendTimeout
from stead.core.http1 import Connection
from stead.core.http_pool import Place, Pool

ANSWER_LIMIT_BYTES = 64 * 2**20
_ALWAYS = "User-Agent: stead\r\nAccept-Encoding: identity\r\nAccept: */*\r\n"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Waits:
    """How long each wait may take, in seconds; None means as long as the deadline allows."""

    connect_s: float = 5.0
    first_s: float | None = 60.0
    between_s: float | None = 30.0


DEFAULT_WAITS = Waits()


def _limit(cap_s: float | None, deadline: float | None) -> tuple[float | None, bool]:
    """Return the seconds a wait may take, and whether the deadline is what limits it."""
    if deadline is None:
        return cap_s, False
    rest = deadline - time.monotonic()
    if rest <= 0:
        raise BackendTimeout("deadline", "the deadline of the request has passed")
    return (rest, True) if cap_s is None or rest < cap_s else (cap_s, False)


def _too_late(what: str, url: str, limit_s: float | None, by_deadline: bool) -> BackendTimeout:
    if by_deadline:
        return BackendTimeout("deadline", f"the deadline passed while waiting for {url}")
    return BackendTimeout(f"{what}-timeout", f"{url} sent nothing for {limit_s} s ({what})")


class Headers(Mapping[str, str]):
    """The headers of an answer; names compare without case, repeated ones are joined by a comma."""

    __slots__ = ("_found",)

    def __init__(self, found: dict[str, str]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> str:
        return self._found[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class Answer:
    """An open answer. Leaving `async with`, or `close`, before its end closes the socket."""

    __slots__ = (
        "_connection",
        "_deadline",
        "_place",
        "_pool",
        "_url",
        "_waits",
        "headers",
        "status",
    )

    def __init__(
        self, connection: Connection, pool: Pool, place: Place, url: str, waits: Waits,
        deadline: float | None,
    ) -> None:  # fmt: skip
        self._connection: Connection | None = connection
        self._pool = pool
        self._place = place
        self._url = url
        self._waits = waits
        self._deadline = deadline
        self.status = connection.status
        self.headers = Headers(connection.headers)

    async def read(self, limit_bytes: int = ANSWER_LIMIT_BYTES) -> bytes:
        """Return the whole body. Raises: BackendError("answer-too-large") above the limit."""
        parts, size = [], 0
        while part := await self._part():
            size += len(part)
            if size > limit_bytes:
                self.close()
                raise BackendError(
                    "answer-too-large", f"{self._url} sent more than {limit_bytes} bytes"
                )
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while part := await self._part():
            yield part

    async def _part(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        connection = self._connection
        if connection is None:
            return b""
        while not connection.waiting:
            if connection.complete:
                return b""
            if connection.error is not None:
                raise BackendError(
                    "connection-lost", f"{self._url} broke off its answer: {connection.error}"
                )
            limit_s, by_deadline = _limit(self._waits.between_s, self._deadline)
            if not await connection.news(limit_s):
                self.close()
                raise _too_late("between-bytes", self._url, limit_s, by_deadline)
        return connection.take()

    async def drain(self, limit_s: float = 0.05) -> None:
        """Read what little follows a protocol's own end marker, so that the socket can be reused."""
        connection = self._connection
        until = time.monotonic() + limit_s
        while connection is not None and not connection.complete and connection.error is None:
            rest = until - time.monotonic()
            if rest <= 0 or not await connection.news(rest):
                self.close()
                return
            connection.take()

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, else close the socket."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(self._place, connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Http:
    """A pool of connections, one for each event loop.

    `keepalive_s` 0 closes each connection after its answer: right for servers that give every
    open connection a thread.
    """

    def __init__(self, *, connections: int = 512, keepalive_s: float = 15.0) -> None:
        self._connections = connections
        self._keepalive_s = keepalive_s
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = WeakKeyDictionary()

    def _pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None or pool.closed:
            pool = self._pools[loop] = Pool(self._connections, self._keepalive_s)
        return pool

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        waits: Waits = DEFAULT_WAITS,
        deadline: float | None = None,
        address: str | None = None,
        upload: AsyncIterator[bytes] | None = None,
    ) -> Answer:
        """Send a request and return its answer once the status and headers are there.

        `address` (already checked) is connected to instead of looking the URL's host up. `upload` is a
        long body in parts, after `body`; the caller's Content-Length header says how long.
        Raises: BackendError("connection-refused", "connection-lost", "encoded-answer", "bad-url"),
        BackendTimeout("connect-timeout", "first-byte-timeout", "deadline").
        """
        try:
            place, target, host = _parts(url)
            data = _request(method, target, host, headers, body)
        except ValueError as error:
            raise BackendError("bad-url", f"{url!r} cannot be asked: {error}") from error
        if address is not None:
            place = place._replace(address=address)
        pool = self._pool()
        connection = await self._connected(pool, place, url, waits, deadline)
        try:
            connection.send(data, without_body=method == "HEAD")
            if upload is not None:
                await connection.send_rest(upload)
            await self._begun(connection, url, waits, deadline)
            if connection.headers.get("content-encoding", "identity") != "identity":
                raise BackendError(
                    "encoded-answer", f"{url} compressed its answer though not asked to"
                )
        except BaseException:
            pool.give_back(place, connection)
            raise
        return Answer(connection, pool, place, url, waits, deadline)

    @staticmethod
    async def _begun(
        connection: Connection, url: str, waits: Waits, deadline: float | None
    ) -> None:
        """Wait for the answer's status and headers."""
        limit_s, by_deadline = _limit(waits.first_s, deadline)
        until = None if limit_s is None else time.monotonic() + limit_s
        while not connection.status:
            if connection.error is not None:
                raise BackendError("connection-lost", f"{url} gave no answer: {connection.error}")
            rest = None if until is None else max(0.0, until - time.monotonic())
            if not await connection.news(rest):
                raise _too_late("first-byte", url, limit_s, by_deadline)

    @staticmethod
    async def _connected(
        pool: Pool, place: Place, url: str, waits: Waits, deadline: float | None
    ) -> Connection:
        limit_s, by_deadline = _limit(waits.connect_s, deadline)
        try:
            return await pool.take(place, waits.connect_s if limit_s is None else limit_s)
        except TimeoutError as error:
            if by_deadline:
                raise _too_late("connect", url, limit_s, by_deadline) from error
            raise BackendTimeout(
                "connect-timeout", f"no connection to {url} within {waits.connect_s} s"
            ) from error
        except (OSError, UnicodeError) as error:
            raise BackendError("connection-refused", f"no connection to {url}: {error}") from error

    async def close(self) -> None:
        """Close every loop's connections; safe to call twice."""
        here = asyncio.get_running_loop()
        pools = list(self._pools.items())
        self._pools.clear()
        for loop, pool in pools:
            if loop is here:
                pool.close()
            elif loop.is_running():
                loop.call_soon_threadsafe(pool.close)


@lru_cache(maxsize=4096)
def _parts(url: str) -> tuple[Place, str, str]:
    """Return where to connect, the request's target and its Host. Raises: ValueError."""
    if any(ord(c) <= 32 or ord(c) > 126 or c == "\\" for c in url):
        raise ValueError("it holds characters that no URL has")
    found = urlsplit(url)
    if found.scheme not in _PORTS or not found.hostname or "@" in found.netloc:
        raise ValueError("only http and https URLs without a user name can be asked")
    port = _PORTS[found.scheme] if found.port is None else found.port
    path = found.path if found.path else "/"
    target = f"{path}?{found.query}" if found.query else path
    return Place(found.scheme, found.hostname, port), target, found.netloc


def _request(
    method: str, target: str, host: str, headers: Mapping[str, str] | None, body: bytes | None
) -> bytes:
    """Return the bytes of a request. Raises: ValueError for a header with a line end in it."""
    given = {} if headers is None else headers
    lines = "".join([f"{name}: {value}\r\n" for name, value in given.items()])
    if lines.count("\n") != len(given) or lines.count("\r") != len(given):
        raise ValueError("a header holds a line end")
    length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{_ALWAYS}{lines}{length}\r\n"
    data = head.encode("latin-1")
    return data if body is None else data + body
