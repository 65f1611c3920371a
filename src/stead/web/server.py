"""The ASGI root and the process around it: bind, run, drain, stop.

Knows nothing about routes: `serving` answers `/v1`.
"""

import errno
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from stead.core.errors import ResourceError
from stead.core.lazy import installed, lazy

if TYPE_CHECKING:
    import uvicorn
else:
    uvicorn = lazy("uvicorn", extra="serve")

App = Callable[..., Awaitable[None]]
_BACKLOG = 2048
_DRAIN_S = 20


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; port 0 takes a free one.

    Raises: ResourceError("port-in-use") with the command for another port; ResourceError("no-bind").
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise ResourceError(
                "port-in-use",
                f"port {port} of {host!r} is in use by another program",
                hint=f"stead serve --port {_free_port(host)} --model …",
            ) from error
        raise ResourceError(
            "no-bind", f"cannot listen on {host!r} port {port}: {error.strerror}"
        ) from error
    return found


def _free_port(host: str) -> int:
    """Return a port that was free a moment ago, for the hint."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def url_of(bound: socket.socket) -> str:
    """Return the address of a bound socket as a URL."""
    host, port = bound.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - shown as the address to call from here
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: App, bound: socket.socket, *, on_ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; then let requests in flight finish, `_DRAIN_S` at most.

    Connections that ask during the drain are closed. Raises: KeyboardInterrupt after SIGINT.
    """
    server = _server(app, on_ready)
    server.run(sockets=[bound])


def _server(app: App, on_ready: Callable[[], None]) -> Any:  # Any: uvicorn's untyped server
    class Server(uvicorn.Server):  # type: ignore[misc]  # made here because its base is lazy
        """Tell when the socket listens."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            on_ready()

    config = uvicorn.Config(
        app,
        http="httptools" if installed("httptools") else "h11",
        loop="uvloop" if installed("uvloop") else "asyncio",
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_DRAIN_S,
        timeout_keep_alive=30,
    )
    return Server(config)
