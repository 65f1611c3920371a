"""The ASGI root and the process around it: bind, run, drain, stop.

Knows nothing about routes: `serving` answers `/v1`.
"""

import errno
import gc
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sized
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from stead.core.errors import ResourceError
from stead.core.lazy import installed, lazy
from stead.web.connection import patient

if TYPE_CHECKING:
    import uvicorn
else:
    uvicorn = lazy("uvicorn", extra="serve")

_BACKLOG = 2048
DRAIN_S = 20.0
_MESSAGE_BYTES = 64 * 1024  # of a socket: clients send names of topics
_CUT_S = 2  # for the words that end what the drain did not


class App(Protocol):
    """What is served: an ASGI app that can refuse new work and cut the old."""

    async def __call__(
        self,
        scope: Any,  # Any: ASGI's own messages
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Answer one connection event of ASGI."""

    @property
    def active(self) -> Sized:
        """What is not answered yet."""

    def drain(self) -> None:
        """Refuse new requests from now on."""

    def cut(self) -> None:
        """End what is at work, with a word to its client."""


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


def run(
    app: App, bound: socket.socket, *, on_ready: Callable[[], None], drain_s: float = DRAIN_S
) -> None:
    """Serve until SIGINT or SIGTERM; then let requests in flight finish, `drain_s` at most.

    Who asks during the drain gets 503 and a closed connection; what the drain does not end is cut with
    an error event. A second signal cuts at once. Raises: KeyboardInterrupt after SIGINT.
    """
    server = _server(app, on_ready, drain_s)
    gc.collect()
    gc.freeze()  # what the start has made stays: it need not be looked at again
    gc.set_threshold(20_000, 20, 50)  # a request makes hundreds of objects and hardly any cycle
    sys.setswitchinterval(
        0.0005
    )  # the ledger's thread must not hold requests up for 5 ms at a time
    server.run(sockets=[bound])
    if server.stopped_by == signal.SIGINT:
        raise KeyboardInterrupt


def _server(app: App, on_ready: Callable[[], None], drain_s: float) -> Any:  # Any: uvicorn untyped
    class Server(uvicorn.Server):  # type: ignore[misc]  # made here because its base is lazy
        """Tells when the socket listens; drains before it stops."""

        should_exit: bool

        drain_until: float | None = None
        stopped_by: int | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            on_ready()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # Not the parent's: it would raise the signal again, and nothing after it were closed.
            self.stopped_by = sig
            if self.drain_until is None and self.started:
                self.drain_until = time.monotonic() + drain_s
                app.drain()
            else:
                self.force_exit = self.should_exit
                self.should_exit = True

        async def on_tick(self, counter: int) -> bool:
            if self.drain_until is not None:
                over = time.monotonic() > self.drain_until
                self.should_exit = self.should_exit or over or not len(app.active)
                if self.should_exit:
                    app.cut()
            return bool(await super().on_tick(counter))

    return Server(_config(app))


def _config(app: App) -> Any:  # Any: uvicorn untyped
    fast = installed("httptools")
    config = uvicorn.Config(
        app,
        http="httptools" if fast else "h11",
        loop="uvloop" if installed("uvloop") else "asyncio",
        ws="websockets-sansio" if installed("websockets") else "none",
        ws_max_size=_MESSAGE_BYTES,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_CUT_S,
        timeout_keep_alive=30,
    )
    config.load()
    if fast:
        config.http_protocol_class = patient(config.http_protocol_class)
    return config
