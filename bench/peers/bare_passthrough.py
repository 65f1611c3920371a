"""The ceiling: raw ASGI that decodes the body with msgspec and relays with aiohttp; no keys, limits, ledger.

Run with uvicorn; UPSTREAM names the address. Streams are relayed piece by piece.
"""

import os
from typing import Any

import aiohttp
import msgspec

UPSTREAM = os.environ["UPSTREAM"]


class Message(msgspec.Struct):
    """A message, as little of it as a relay needs."""

    role: str
    content: str | list[Any] | None = None


class Request(msgspec.Struct):
    """A chat request, as little of it as a relay needs."""

    model: str
    messages: list[Message]
    stream: bool = False


_DECODE = msgspec.json.Decoder(Request).decode
_STATE: dict[str, aiohttp.ClientSession] = {}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Relay one request."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body", False)
    asked = _DECODE(body)
    kind = {"content-type": "application/json"}
    async with _STATE["session"].post(UPSTREAM, data=body, headers=kind) as up:
        headers = [(b"content-type", up.headers["content-type"].encode())]
        await send({"type": "http.response.start", "status": up.status, "headers": headers})
        if asked.stream:
            async for piece in up.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": await up.read()})


async def _lifespan(receive: Any, send: Any) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        _STATE["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=512))
        await send({"type": "lifespan.startup.complete"})
    await _STATE["session"].close()
    await send({"type": "lifespan.shutdown.complete"})
