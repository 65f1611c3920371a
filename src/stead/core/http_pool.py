"""Connections kept open for one event loop: taken per request, given back, dropped when idle too long.

Knows nothing about requests. Bounded: at most `limit` are open, further ones wait their turn.
"""

import asyncio
import ssl
import time
from collections import deque
from functools import lru_cache
from typing import NamedTuple

from stead.core.http1 import Connection


class Place(NamedTuple):
    """Where to connect: a host to be named in TLS, and an address when that is already decided."""

    scheme: str
    host: str
    port: int
    address: str | None = None


class Pool:
    """The open connections of one loop; not for use from another one."""

    def __init__(self, limit: int, keepalive_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._keepalive_s = keepalive_s
        self._idle: dict[Place, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._queue: deque[asyncio.Future[None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self.closed = False

    async def take(self, place: Place, connect_s: float) -> Connection:
        """Return a connection to a place, kept or new.

        Raises: OSError (refused, no such host, TLS), TimeoutError after `connect_s`.
        """
        while (kept := self._kept(place)) is None:
            if len(self._open) < self._limit or self._drop_oldest():
                return await self._connect(place, connect_s)
            await self._turn()
        return kept

    def _kept(self, place: Place) -> Connection | None:
        """Return an idle connection to a place, the youngest first; dead and old ones are dropped."""
        idle = self._idle.get(place)
        while idle:
            kept = idle.pop()
            if kept.alive and time.monotonic() - kept.idle_since < self._keepalive_s:
                return kept
            self._drop(kept)
        return None

    def give_back(self, place: Place, connection: Connection) -> None:
        """Keep a connection for the next request if it can take one, else close it."""
        if not connection.rest() or self._keepalive_s <= 0 or self.closed:
            self._drop(connection)
            return
        connection.idle_since = time.monotonic()
        self._idle.setdefault(place, []).append(connection)
        self._next_turn()
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._keepalive_s, self._sweep)

    def close(self) -> None:
        """Close every connection, those at work too."""
        self.closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            self._drop(connection)
        self._idle.clear()

    async def _connect(self, place: Place, connect_s: float) -> Connection:
        secure = place.scheme == "https"
        made = Connection(self._loop)
        self._open.add(made)  # counted while connecting, so that the limit holds
        try:
            async with asyncio.timeout(connect_s):
                await self._loop.create_connection(
                    lambda: made,
                    place.host if place.address is None else place.address,
                    place.port,
                    ssl=_tls() if secure else None,
                    server_hostname=place.host if secure else None,
                )
        except BaseException:
            self._drop(made)
            raise
        return made

    async def _turn(self) -> None:
        """Wait until a connection came back or was dropped."""
        turn = self._loop.create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next_turn()  # ours is not used: the next one may go
            raise

    def _next_turn(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()
        self._next_turn()

    def _drop_oldest(self) -> bool:
        """Close the connection that has been idle longest; False when none is idle."""
        kept = [c for idle in self._idle.values() for c in idle]
        if not kept:
            return False
        oldest = min(kept, key=lambda c: c.idle_since)
        for idle in self._idle.values():
            if oldest in idle:
                idle.remove(oldest)
        self._drop(oldest)
        return True

    def _sweep(self) -> None:
        """Close what has been idle too long; run again while something is kept."""
        self._sweeper = None
        before = time.monotonic() - self._keepalive_s
        for place, idle in list(self._idle.items()):
            for connection in [c for c in idle if c.idle_since <= before or not c.alive]:
                idle.remove(connection)
                self._drop(connection)
            if not idle:
                del self._idle[place]
        if self._idle:
            self._sweeper = self._loop.call_later(self._keepalive_s, self._sweep)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Return the system's trust, verified names, HTTP/1.1 only."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
