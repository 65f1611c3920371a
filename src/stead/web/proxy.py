"""A server behind a reverse proxy: what the proxy says of the client stands in for what the connection says.

Knows nothing about routes. Only with `serve --behind-proxy`; otherwise nobody reads these headers, because anybody
can send them. The proxy must be the only one who reaches the port, must append to `X-Forwarded-For`, and must set
the other two itself.
"""

import re
from collections.abc import Sized

from starlette.types import Receive, Scope, Send

from stead.web.server import App

_SCHEMES = {b"http": "http", b"https": "https", b"ws": "ws", b"wss": "wss"}
_ADDRESS = re.compile(rb"\[?([0-9A-Fa-f:.]{2,45})\]?(?::\d{1,5})?")
_FOR, _PROTO, _HOST = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"


class BehindProxy:
    """`inner` with the client's address, the scheme and the host that the one proxy before it tells of."""

    def __init__(self, inner: App) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection event of ASGI."""
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, **told(scope)}
        await self._inner(scope, receive, send)

    @property
    def active(self) -> Sized:
        """What is not answered yet."""
        return self._inner.active

    def drain(self) -> None:
        """Refuse new requests from now on."""
        self._inner.drain()

    def cut(self) -> None:
        """End what is at work, with a word to its client."""
        self._inner.cut()


def told(scope: Scope) -> Scope:
    """Return what the proxy's headers change in a scope; of several values the last counts, which the proxy wrote."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    found = dict(headers)
    changed: Scope = {}
    address = _ADDRESS.fullmatch(_last(found.get(_FOR, b"")))
    if address is not None:
        changed["client"] = (address[1].decode(), 0)
    scheme = _SCHEMES.get(_last(found.get(_PROTO, b"")).lower())
    if scheme is not None:
        is_socket = scope["type"] == "websocket"
        changed["scheme"] = scheme.replace("http", "ws") if is_socket else scheme
    host = _last(found.get(_HOST, b""))
    if host:
        changed["headers"] = [
            (b"host", host), *((name, value) for name, value in headers if name != b"host")
        ]  # fmt: skip
    return changed


def _last(value: bytes) -> bytes:
    return value.rpartition(b",")[2].strip()
