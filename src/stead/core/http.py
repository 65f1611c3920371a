"""The one door to HTTP: pooled connections, three waits and one deadline, bounded answers.

Knows nothing about who is called or why. The environment's proxies are ignored, cookies dropped,
redirects never followed and compressed answers refused, so what was asked is what is reached.
Addresses supplied by strangers need the address guard on top; this door trusts its caller's URL.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

import aiohttp

from stead.core.errors import BackendError, BackendTimeout

ANSWER_LIMIT_BYTES = 64 * 2**20
_USER_AGENT = "stead"


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


class Answer:
    """An open answer. Leaving `async with`, or `close`, before its end closes the socket."""

    def __init__(
        self, raw: aiohttp.ClientResponse, url: str, waits: Waits, deadline: float | None
    ) -> None:
        self._raw = raw
        self._url = url
        self._waits = waits
        self._deadline = deadline
        self.status = raw.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers; names compare without case."""
        return self._raw.headers

    async def read(self, limit_bytes: int = ANSWER_LIMIT_BYTES) -> bytes:
        """Return the whole body. Raises: BackendError("answer-too-large") above the limit."""
        parts, size = [], 0
        async for part in self:
            size += len(part)
            if size > limit_bytes:
                self.close()
                raise BackendError(
                    "answer-too-large", f"{self._url} sent more than {limit_bytes} bytes"
                )
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._raw.content
        while True:
            limit_s, by_deadline = _limit(self._waits.between_s, self._deadline)
            try:
                async with asyncio.timeout(limit_s):
                    part = await content.readany()
            except TimeoutError as error:
                self.close()
                raise _too_late("between-bytes", self._url, limit_s, by_deadline) from error
            except (aiohttp.ClientError, OSError) as error:
                raise BackendError(
                    "connection-lost", f"{self._url} broke off its answer: {error}"
                ) from error
            if not part:
                return
            yield part

    async def drain(self, limit_s: float = 0.05) -> None:
        """Read what little follows a protocol's own end marker, so that the socket can be reused."""
        try:
            async with asyncio.timeout(limit_s):
                while await self._raw.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, OSError):
            self.close()

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, else close the socket."""
        self._raw.close()

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
    """A pool of connections, one session per event loop.

    `keepalive_s` 0 closes each connection after its answer: right for servers that give every
    open connection a thread.
    """

    def __init__(self, *, connections: int = 512, keepalive_s: float = 15.0) -> None:
        self._connections = connections
        self._keepalive_s = keepalive_s
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = (
            WeakKeyDictionary()
        )

    def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            session = self._sessions[loop] = self._new_session()
        return session

    def _new_session(self) -> aiohttp.ClientSession:
        kept = self._keepalive_s > 0  # aiohttp refuses a time-out together with force_close
        connector = aiohttp.TCPConnector(
            limit=self._connections,
            force_close=not kept,
            keepalive_timeout=self._keepalive_s if kept else None,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        waits: Waits = DEFAULT_WAITS,
        deadline: float | None = None,
    ) -> Answer:
        """Send a request and return its answer once the status and headers are there.

        Raises: BackendError("connection-refused", "connection-lost", "encoded-answer", "bad-url"),
        BackendTimeout("connect-timeout", "first-byte-timeout", "deadline").
        """
        limit_s, by_deadline = _limit(waits.first_s, deadline)
        try:
            async with asyncio.timeout(limit_s):
                raw = await self._session().request(
                    method,
                    url,
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=waits.connect_s),
                )
        except aiohttp.ServerTimeoutError as error:
            raise BackendTimeout(
                "connect-timeout", f"no connection to {url} within {waits.connect_s} s"
            ) from error
        except TimeoutError as error:
            raise _too_late("first-byte", url, limit_s, by_deadline) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failed(url, error) from error
        if raw.headers.get("Content-Encoding", "identity") != "identity":
            raw.close()
            raise BackendError("encoded-answer", f"{url} compressed its answer though not asked to")
        return Answer(raw, url, waits, deadline)

    async def close(self) -> None:
        """Close every loop's connections; safe to call twice."""
        here = asyncio.get_running_loop()
        sessions = list(self._sessions.items())
        self._sessions.clear()
        for loop, session in sessions:
            if loop is here:
                await session.close()
            elif loop.is_running():
                there = asyncio.run_coroutine_threadsafe(session.close(), loop)
                await asyncio.wrap_future(there)


def _failed(url: str, error: Exception) -> BackendError:
    """Translate what aiohttp raises before there is an answer."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return BackendError("connection-refused", f"no connection to {url}: {error.os_error}")
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return BackendError("bad-url", f"{url!r} cannot be asked: {error}")
    return BackendError("connection-lost", f"{url} gave no answer: {error or type(error).__name__}")
