"""What a strategy's `monitoring` asks of this process: the form of its log, and a port for its counts.

Knows nothing about requests; `inference/watch` tells of them.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal, cast

from stead.config.settings import read_settings
from stead.config.strategy import Strategy
from stead.core.errors import ResourceError
from stead.core.log import LogConfig, set_up
from stead.core.metrics import CONTENT_TYPE, Metrics
from stead.core.paths import Home
from stead.inference.backend import Backend, close_stream
from stead.inference.wrapper import Wrapper
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, Reply

_LINE_BYTES = 8192
_READ_S = 5.0


def set_up_log(strategy: Strategy, home: Home) -> None:
    """Log as the strategy says, on the console and in the data directory. For programs, not libraries.

    What it does not say is as the settings have it.
    """
    told, usual = strategy.monitoring, read_settings(home).value.log
    given = told.model_fields_set
    level = {"CRITICAL": "error"}.get(told.log_level, told.log_level.lower())
    least = cast(Literal["debug", "info", "warning", "error"], level)  # the four that are left
    set_up(
        LogConfig(
            least if "log_level" in given else usual.level,
            told.log_format if "log_format" in given else usual.format,
            home.ensure().logs,
        )
    )


class MetricsPort:
    """`GET /metrics` on a loopback port, and nothing else. Bind it from the loop that is to serve it."""

    def __init__(self, metrics: Metrics, port: int) -> None:
        self._metrics = metrics
        self._wanted = port
        self._server: asyncio.Server | None = None
        self.port: int | None = None

    async def start(self) -> None:
        """Listen, once. Raises: ResourceError("port-taken")."""
        if self._server is not None:
            return
        try:
            self._server = await asyncio.start_server(
                self._answer, "127.0.0.1", self._wanted, limit=_LINE_BYTES
            )
        except OSError as error:
            raise ResourceError(
                "port-taken", f"metrics_port {self._wanted} cannot be listened on: {error.strerror}"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_READ_S):
                head = await reader.readuntil(b"\r\n\r\n")
            is_right = head.startswith(b"GET /metrics ")
            body = self._metrics.render().encode() if is_right else b"there is only /metrics\n"
            status = b"200 OK" if is_right else b"404 Not Found"
            writer.write(
                b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
                % (status, CONTENT_TYPE, len(body), body)
            )
            await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # a client that speaks no HTTP, or has left
        finally:
            writer.close()


class WithPort(Wrapper):
    """`inner`, whose counts are shown on a port from the first request until it is closed."""

    def __init__(self, inner: Backend, port: MetricsPort) -> None:
        super().__init__(inner)
        self.shown = port

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        await self.shown.start()
        return await self.inner.generate(request, deadline)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        await self.shown.start()
        chunks = self.inner.stream(request, deadline)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await close_stream(chunks)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        await self.shown.start()
        return await self.inner.embed(request, deadline)

    async def close(self) -> None:
        """Listen no more, and close the inner one."""
        await self.shown.close()
        await self.inner.close()
