"""Open STREAMS streams at once and read them to their ends: chunks per second, delay of each chunk.

python stream_client.py URL KEY STREAMS
"""

import asyncio
import json
import re
import sys
import time
from urllib.parse import urlsplit

_TIME = re.compile(rb'"content":"(\d+\.\d+) "')


async def _one(url: str, key: str, delays: list[float]) -> int:
    parts = urlsplit(url)
    body = b'{"model":"mock","stream":true,"messages":[{"role":"user","content":"Hello"}]}'
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    count = 0
    while line := await reader.readline():
        found = _TIME.search(line)
        if found is not None:
            delays.append(time.monotonic() - float(found[1]))
            count += 1
        elif b"[DONE]" in line:
            break
    writer.close()
    return count


async def _main() -> None:
    url, key, streams = sys.argv[1], sys.argv[2], int(sys.argv[3])
    delays: list[float] = []
    began = time.monotonic()
    counts = await asyncio.gather(*(_one(url, key, delays) for _ in range(streams)))
    took = time.monotonic() - began
    delays.sort()
    print(
        json.dumps(
            {
                "chunks": sum(counts),
                "chunks_per_s": round(sum(counts) / took, 1),
                "p50_ms": round(1000 * delays[len(delays) // 2], 3),
                "p99_ms": round(1000 * delays[int(len(delays) * 0.99)], 3),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(_main())
