"""Serve an ASGI application on a free loopback port until told to stop: the end of every own worker.

Knows nothing about the application. The server's library is imported when it is needed.
"""

import socket
from types import FrameType
from typing import Any

from stead.core.process import stop_requested
from stead.engines import child

_DRAIN_S = 2  # whoever started us has let its requests finish before


def host(app: Any, ready: child.Ready) -> None:  # Any: an ASGI application
    """Listen, say where once the socket does, and answer until a signal comes."""
    import uvicorn

    bound = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"

    class Server(uvicorn.Server):  # type: ignore[misc]  # the library has no types
        """Say when the socket listens; a signal also tells the work to stop."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            ready(url)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            stop_requested.set()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    Server(config).run(sockets=[bound])
