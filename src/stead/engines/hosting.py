"""Serve an ASGI application on a free loopback port until told to stop: the end of every own worker.

Knows nothing about the application. Only worker programs import this.
"""

import socket
from types import FrameType
from typing import Any

import uvicorn

from stead.core.process import stop_requested
from stead.engines import child

_DRAIN_S = 2  # whoever started us has let its requests finish before


class _Server(uvicorn.Server):  # type: ignore[misc]  # the library has no types
    """Say when the socket listens; a signal also tells the work to stop."""

    def __init__(self, config: uvicorn.Config, url: str, ready: child.Ready) -> None:
        super().__init__(config)
        self._url = url
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready(self._url)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        stop_requested.set()
        super().handle_exit(sig, frame)


def host(app: Any, ready: child.Ready) -> None:  # Any: an ASGI application
    """Listen, say where, and answer until a signal comes."""
    bound = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    config = uvicorn.Config(
        app,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    _Server(config, url, ready).run(sockets=[bound])
