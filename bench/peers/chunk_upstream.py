"""An upstream that streams N chat chunks, every PACE seconds (0: as fast as they are taken), each with its time of sending.

python chunk_upstream.py PORT CHUNKS PACE_S
"""

import asyncio
import contextlib
import sys
import time

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_CHUNK = (
    '{"id":"c","object":"chat.completion.chunk","created":1,"model":"mock","choices":'
    '[{"index":0,"delta":%s,"finish_reason":%s}]}'
)


def _event(text: str) -> bytes:
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    chunks, pace_s = int(sys.argv[2]), float(sys.argv[3])
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            writer.write(_HEAD)
            for _ in range(chunks):
                delta = f'{{"content":"{time.monotonic():.6f} "}}'
                writer.write(_event(_CHUNK % (delta, "null")))
                if pace_s:
                    await asyncio.sleep(pace_s)
                else:
                    await writer.drain()
            writer.write(_event(_CHUNK % ("{}", '"stop"')) + _event("[DONE]") + b"0\r\n\r\n")
            await writer.drain()
    writer.close()


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", int(sys.argv[1]), backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
