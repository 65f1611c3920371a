"""A scripted HTTP endpoint on loopback: each connection gets a script of bytes and pauses.

`fault_catalogue` makes scripts of everything that can go wrong.
"""

import asyncio
import socket
import struct
from contextlib import asynccontextmanager


def head(status=200, kind="application/json", length=None, extra=""):
    size = "" if length is None else f"Content-Length: {length}\r\n"
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{size}{extra}Connection: close\r\n\r\n"
    ).encode()


def whole(body, status=200, extra=""):
    data = body if isinstance(body, bytes) else body.encode()
    return [head(status, length=len(data), extra=extra) + data]


def streamed(*events, end=True):
    lines = [f"data: {e}\n\n".encode() for e in events]
    return [head(kind="text/event-stream"), *lines, *([b"data: [DONE]\n\n"] if end else [])]


class Reset:
    """Stands in a script: break the connection off hard."""


def _reset(writer):
    """Close with RST instead of FIN: a linger time of 0 does that."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


class Upstream:
    """`script` is a list of bytes, seconds to wait, or `Reset`; `closed` is set when we leave.

    It may be a function of the connection's number, counted from 0, instead.
    """

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.connections = 0
        self.closed = asyncio.Event()
        self.asked = asyncio.Event()
        self.url = ""
        self.at_work = set()

    async def serve(self, reader, writer):
        self.at_work.add(asyncio.current_task())
        script = self.script(self.connections) if callable(self.script) else self.script
        self.connections += 1
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            size = next(
                (
                    int(x[15:])
                    for x in request.lower().split(b"\r\n")
                    if x.startswith(b"content-length:")
                ),
                0,
            )
            self.requests.append(request + await reader.readexactly(size))
            self.asked.set()
            gone = asyncio.create_task(reader.read())
            gone.add_done_callback(lambda t: t.cancelled() or t.exception())  # we may leave hard
            for step in script:
                if step is Reset:
                    _reset(writer)
                    return
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                elif (await asyncio.wait({gone}, timeout=step))[0]:
                    self.closed.set()
                    return
            gone.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.closed.set()
        finally:
            writer.close()
            self.at_work.discard(asyncio.current_task())


@asynccontextmanager
async def upstream(script):
    found = Upstream(script)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        await server.wait_closed()
        if found.at_work:  # they see that we left
            await asyncio.wait(found.at_work, timeout=1)
