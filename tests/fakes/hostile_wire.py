"""Hostile bytes, where an HTTP client would not send them: odd heads, doubled headers, frames of a socket, half requests.

`probe(url, cookie, random)` sends one and returns (what was sent, what was wrong with the answer or None). An answer
may be a refusal or a closed connection; never a 5xx, never silence, never words of ours.
"""

import base64
import contextlib
import json
import os
import re
import socket
import struct
from urllib.parse import urlsplit

LEAKS = re.compile(
    rb'Traceback \(most recent|File "/|site-packages|sqlalchemy|sqlite3\.|psycopg|0x[0-9a-f]{9,}|/usr/lib/'
)
PATHS = (
    b"/", b"/api/runs", b"/api/models/x", b"/api/jobs?limit=1", b"/v1/models", b"/v1/chat/completions", b"/api/tags", b"/health",
    b"/api/live", b"/api/openapi.json", b"/assets/../../etc/passwd", b"/assets/%2e%2e/%2e%2e/etc/passwd", b"//etc/passwd", b"/..",
    b"/api/../../etc/passwd", b"/api//runs", b"/api/runs/%00", b"/api/runs/\xff\xfe", b"/api/runs?q=%ED%A0%80&q=%FF", b"/%2e%2e/%2e%2e/x",
    b"/..\\..\\x", b"/api/runs;x=1", b"/api/runs#x", b"*", b"http://127.0.0.1/api/runs", b"http://evil.example/api/runs", b"/api/" + b"a/" * 2000,
    b"/\xe2\x80\xae", b"/api/runs?" + b"a=1&" * 3000, b"/api/runs/x/artifacts/....//....//etc/passwd",
)  # fmt: skip
METHODS = (b"GET", b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"FOO", b"get", b"PROPFIND")  # fmt: skip
HEADERS = (
    b"Range: bytes=" + b",".join(b"%d-%d" % (i, i) for i in range(2000)), b"Range: bytes=-9223372036854775809", b"Range: bytes=5-2,abc",
    b"Range: lines=1-2", b"If-Range: x", b"If-None-Match: " + b'"x",' * 500, b"If-Modified-Since: yesterday", b"Accept-Encoding: gzip;q=nan, *;q=-1",
    b"Content-Encoding: gzip, gzip, br", b"Content-Type: application/json; charset=utf-7", b"Content-Type: multipart/form-data; boundary=" + b"-" * 300,
    b"Content-Type: multipart/form-data; boundary=\xff", b"Content-Type: ;;;", b"Accept: \x80\xff", b"Cookie: stead_session=\xff\xfe; ;=;a",
    b"Cookie: " + b"a=b; " * 2000, b"Authorization: Bearer " + b"\xc3\x28" * 50, b"Authorization: Basic ===", b"Authorization: Bearer",
    b"X-Api-Key: \xff", b"X-Stead-Tags: {\"a\": \xff}", b"X-Stead-CSRF: \xe2\x80\xa8", b"Origin: null", b"Origin: http://localhost.evil", b"Sec-Fetch-Site: cross-site",
    b"X-Forwarded-For: ' OR 1=1--", b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: gopher", b"X-HTTP-Method-Override: DELETE", b"Host: evil.example",
    b"Host: localhost/v1/health?", b"Expect: 100-continue", b"Expect: 1000", b"Upgrade: h2c\r\nConnection: Upgrade", b"Connection: close, keep-alive",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity, chunked", b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: -1",
    b"Content-Length: 99999999999999999999", b"Content-Length: \xc2\xb2", b"Last-Event-ID: \xc2\xb2", b"Last-Event-ID: -9", b"Idempotency-Key: " + b"\xff" * 64,
    b"traceparent: 00-\xff-00-01", b"anthropic-version: \x00x", b"X: " + b"a" * 40_000, b"\r\n".join(b"X-%d: y" % i for i in range(300)), b"Bad Header: x", b": x",
)  # fmt: skip
BODIES = (
    b"", b"{}", b"[" * 100_000, b'{"a":' * 20_000, b"9" * 10_000, b'{"limit":' + b"9" * 6000 + b"}", b'{"model":"\xed\xa0\x80"}', '{"model":"x"}'.encode("utf-16"),
    b'{"model":"\\ud800\\u0000"}', b"\x1f\x8b\x08" + b"\x00" * 100, b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"ffffffffffffffff\r\n", b"0\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b'--x\r\nContent-Disposition: form-data; name="file"; filename*=utf-8\'\'%00%ff\r\n\r\nx\r\n--x--\r\n', b"--x\r\n" * 3000, b"a" * 70_000,
)  # fmt: skip
FRAMES = (
    b"{", b"[]", b'{"subscribe": 1}', b'{"subscribe": ["run/../../x", "jobs", "", "\\u0000", "run/"]}', b'{"subscribe": ["jobs"], "after": {"jobs": 1e99}}',
    b'{"subscribe": ["jobs"], "after": {"jobs": -9223372036854775808}}', b'{"subscribe": ["run/x"], "after": {"run/x": 99999999999999999999}}',
    b'{"subscribe": ["' + b"x" * 20_000 + b'"]}', b"[" * 10_000, b'{"subscribe": ["\\ud800"]}', b'{"subscribe": ["hardware"], "x": 1}', b"\xff\xfe", b"",
    json.dumps({"subscribe": [f"run/{i}" for i in range(500)]}).encode(),
)  # fmt: skip


def probe(url, cookie, random):
    """Send one; return (what was sent, the first status, what was wrong or None)."""
    at = urlsplit(url)
    try:
        with socket.create_connection((at.hostname, at.port), timeout=60) as line:
            is_frames = random.random() < 0.25
            sent = _frames(line, at.netloc, cookie, random) if is_frames else _request(at.netloc, cookie, random)  # fmt: skip
            return sent, *_judged(_exchange(line, b"" if is_frames else sent, is_frames))
    except TimeoutError:
        return b"?", 0, "no answer within 60 s"


def _exchange(line, data, is_frames):
    if data:
        with contextlib.suppress(OSError):  # refused before it was read to its end
            line.sendall(data)
    if not is_frames:
        line.shutdown(socket.SHUT_WR) if _still_open(line) else None
    got = b""
    line.settimeout(0.4 if is_frames else 60)
    try:
        while len(got) < 1_000_000:
            part = line.recv(65536)
            if not part:
                break
            got += part
    except TimeoutError:
        if not is_frames:
            raise
    except OSError:
        pass  # a reset is an end, too
    return got


def _still_open(line):
    try:
        line.getpeername()
    except OSError:
        return False
    return True


def _judged(got):
    found = re.match(rb"HTTP/1\.[01] (\d{3})", got)
    status = 0 if found is None else int(found[1])
    if status >= 500:
        return status, f"{status}: {got[:300]!r}"
    leak = LEAKS.search(got) if status >= 400 else None
    return status, None if leak is None else f"leaks {leak[0]!r}"


def _request(host, cookie, random):
    method, path = random.choice(METHODS), random.choice(PATHS)
    lines = [b"%b %b HTTP/%b" % (method, path, random.choice((b"1.1", b"1.1", b"1.1", b"1.0", b"2.0", b"9")))]  # fmt: skip
    if random.random() < 0.95:
        lines.append(b"Host: " + host.encode())
    if random.random() < 0.7:
        lines.append(b"Cookie: stead_session=" + cookie.encode())
    lines += random.choices(HEADERS, k=random.randint(0, 3))
    body = random.choice(BODIES) if random.random() < 0.5 else b""
    if body and random.random() < 0.7:
        lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    if random.random() < 0.9:
        lines.append(b"Connection: close")
    end = b"\n" if random.random() < 0.03 else b"\r\n"
    return end.join(lines) + end * 2 + body


def _frames(line, host, cookie, random):
    path = random.choice((b"/api/live", b"/api/live", b"/api/live", b"/api/runs", b"/v1/models", b"/", b"/api/live/../x"))  # fmt: skip
    key = base64.b64encode(os.urandom(16))
    head = [b"GET %b HTTP/1.1" % path, b"Host: " + host.encode(), b"Upgrade: websocket", b"Connection: Upgrade",
            b"Sec-WebSocket-Key: " + random.choice((key, key, key, b"x")), b"Sec-WebSocket-Version: " + random.choice((b"13", b"13", b"13", b"8")),
            b"Cookie: stead_session=" + cookie.encode(), *random.choices(HEADERS, k=random.choice((0, 0, 0, 1)))]  # fmt: skip
    sent = b"\r\n".join(head) + b"\r\n\r\n"
    for _ in range(random.randint(1, 4)):
        sent += frame(random.choice(FRAMES), random)
    with contextlib.suppress(OSError):
        line.sendall(sent)
    return sent


def frame(data, random):
    """Return a frame of a client: masked mostly, its kind and length mostly right."""
    kind = random.choice((1, 1, 1, 1, 2, 0, 8, 9, 10, 3, 15))
    first = bytes([(0x80 if random.random() < 0.9 else 0) | kind | (0x40 if random.random() < 0.03 else 0)])  # fmt: skip
    claimed = len(data) if random.random() < 0.95 else random.choice((0, 2**31, 2**63 - 1))
    size = (
        struct.pack(">B", 0x80 | claimed) if claimed < 126
        else struct.pack(">BH", 0x80 | 126, claimed) if claimed < 65536
        else struct.pack(">BQ", 0x80 | 127, claimed)
    )  # fmt: skip
    if random.random() < 0.05:
        return first + bytes([size[0] & 0x7F]) + size[1:] + data  # not masked
    mask = bytes(random.randrange(256) for _ in range(4))
    return first + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data))
