"""What can go wrong at an endpoint: scripts for `upstream`, by fault, protocol and place in the answer.

The words of an answer are serials, so that a missing, doubled or moved one shows. Knows nothing of stead.
"""

import gzip
import itertools
import json
import socket
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

from tests.fakes.upstream import Reset, head
from tests.fakes.vendor_protocols import Answer, Anthropic, Google, OpenAI, Said

PROTOCOLS = {
    "openai_chat": OpenAI, "anthropic": Anthropic, "google": Google,
    "openai_completions": OpenAI, "openai_embeddings": OpenAI,
}  # fmt: skip
PATHS = {
    "openai_chat": "/v1/chat/completions", "anthropic": "/v1/messages", "google": "/v1beta/x",
    "openai_completions": "/v1/completions",
}  # fmt: skip
SSE = "text/event-stream"
HANG_S = 5.0  # longer than any wait of a test
WORDS = [f"w{i} " for i in range(12)]
TEXT = "".join(WORDS)
EMBED = {"model": "m", "input": ["one", "two words"]}


@dataclass(frozen=True)
class Good:
    """An answer without fault: its pieces, and how it begins."""

    pieces: list[bytes]
    kind: str
    protocol: type

    @property
    def body(self):
        return b"".join(self.pieces)

    def start(self, **more):
        return head(kind=self.kind, **more)


def good(dialect, *, stream, words=WORDS):
    """The reference answer of a protocol."""
    protocol = PROTOCOLS[dialect]
    said = Said("m", stream, ["hi"], "hi")
    answer = Answer(words, "stop", 1, 0)
    if not stream:
        embeds = dialect == "openai_embeddings"
        whole = (
            protocol.vectors(EMBED)[0] if embeds else protocol.whole(PATHS[dialect], said, answer)
        )
        body = json.dumps(whole).encode()
        cut = [len(body) * i // 6 for i in range(7)]
        pieces = [body[a:b] for a, b in itertools.pairwise(cut)]
        return Good(pieces, "application/json", protocol)
    body = {"stream_options": {"include_usage": True}}
    pieces = [piece for piece, _ in protocol.stream(PATHS[dialect], said, answer, body)]
    return Good(pieces, SSE, protocol)


def script(found):
    """The reference as a script."""
    return [found.start(), *found.pieces]


# Faults of the transport, at place k: -1 before the headers, 0 after them, else after the k-th piece.


def _until(found, k):
    return [] if k < 0 else [found.start(), *found.pieces[:k]]


def fin(found, k):
    return _until(found, k)


def rst(found, k):
    return [*_until(found, k), 0.0, Reset]


def stall(found, k):
    return [*_until(found, k), HANG_S]


def dribble(found, k):
    rest = (found.start() if k < 0 else b"") + found.body
    return [*_until(found, k), *(step for i in range(40) for step in (rest[i : i + 1], 0.08))]


def garbage(found, k):
    return [*_until(found, k), bytes(range(256)) * 4]


def late(found, k):
    """Slow, but within every wait: must succeed."""
    rest = script(found)[max(k, -1) + 1 :]
    return [*_until(found, k), 0.05, *rest]


# Faults of the head


def _chunked(found, k, lie):
    first = f"{len(found.body) + lie:x}\r\n".encode() + found.body + b"\r\n0\r\n\r\n"
    return [found.start(extra="Transfer-Encoding: chunked\r\n"), first]


def chunk_lie(found, k):
    return _chunked(found, k, -7)


def chunk_long(found, k):
    return _chunked(found, k, 9)


def chunk_nonsense(found, k):
    return [found.start(extra="Transfer-Encoding: chunked\r\n"), b"zz\r\n" + found.body]


def length_short(found, k):
    return [found.start(length=max(1, len(found.body) - 40)), found.body]


def length_long(found, k):
    return [found.start(length=len(found.body) + 10), found.body]


def gzip_corrupt(found, k):
    return [found.start(extra="Content-Encoding: gzip\r\n"), gzip.compress(found.body)[:-9] + b"x"]


def gzip_bomb(found, k):
    return [found.start(extra="Content-Encoding: gzip\r\n"), gzip.compress(b"0" * 10**7)]


def informational_flood(found, k):
    return [b"HTTP/1.1 100 Continue\r\n\r\n" * 500, *script(found)]


def informational_few(found, k):
    return [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3, *script(found)]


def header_of_1_mb(found, k):
    return [found.start(extra=f"X-Long: {'a' * 2**20}\r\n"), found.body]


def redirect_loop(found, k):
    return [head(status=307, length=0, extra="Location: /v1/chat/completions\r\n")]


def redirect_away(found, k):
    return [head(status=302, length=0, extra="Location: http://127.0.0.1:9/steal\r\n")]


def wrong_type(found, k):
    return [head(kind="image/png"), *found.pieces]


# Faults of the content


def html(found, k):
    return [head(kind="text/html"), b"<html><body>502 from a proxy</body></html>"]


def error_in_200(found, k):
    return [found.start(), json.dumps({"error": {"message": "busy", "code": 502}}).encode()]


def empty(found, k):
    return [found.start(length=0)]


def _inserted(found, k, piece):
    """Put a piece into the answer; not streamed, it stands for the rest."""
    if found.kind != SSE:
        return [found.start(), *found.pieces[: max(k, 0)], piece]
    place = max(k, 0)
    return [
        found.start(),
        *found.pieces[:place],
        b"data: " + piece + b"\n\n",
        *found.pieces[place:],
    ]


def json_malformed(found, k):
    return _inserted(found, k, b'{"choices": [}')


def json_truncated(found, k):
    return _inserted(found, k, b'{"choices": [{"delta": {"con')


def json_nan(found, k):
    return _inserted(found, k, b'{"choices": NaN, "candidates": NaN, "type": NaN}')


def json_deep(found, k):
    return _inserted(found, k, b"[" * 100_000 + b"]" * 100_000)


def json_number(found, k):
    return _inserted(found, k, b"1e400")


def error_event(found, k):
    if found.kind != SSE:
        return error_in_200(found, k)
    place = max(k, 0)
    return [found.start(), *found.pieces[:place], found.protocol.error_event("broke")]


def line_of_10_mb(found, k):
    return _inserted(found, k, b"a" * 10 * 2**20)


def invalid_utf8(found, k):
    return _inserted(found, k, b'{"x": "\xc3')


# Odd, but legal: must succeed


def split_bytes(found, k):
    data = found.body
    return [found.start(), *(data[i : i + 1] for i in range(len(data)))]


def split_pairs(found, k):
    data = found.body
    return [
        found.start(),
        *(step for i in range(0, len(data), 97) for step in (data[i : i + 97], 0.0)),
    ]


def carriage_return(found, k):
    return [found.start(), *(p.replace(b"\n", b"\r") for p in found.pieces)]


def crlf(found, k):
    return [found.start(), *(p.replace(b"\n", b"\r\n") for p in found.pieces)]


def bom(found, k):
    return [found.start(), b"\xef\xbb\xbf", *found.pieces]


def comments(found, k):
    return [found.start(), *(b": keep-alive\n\n" + p for p in found.pieces)]


def unknown_fields(found, k):
    return [found.start(), *(b"retry: 10\nx-odd: 1\nid: 7\n" + p for p in found.pieces)]


def several_lines(found, k):
    """JSON may be cut between its tokens into several data lines."""
    return [found.start(), *(p.replace(b'": ', b'":\ndata: ') for p in found.pieces)]


def one_piece(found, k):
    return [found.start(), found.body]


def no_last_blank(found, k):
    return [found.start(), found.body.removesuffix(b"\n")]


def no_usage(found, k):
    return [found.start(), *(p for p in found.pieces if b'"choices": []' not in p)]


def negative_usage(found, k):
    swaps = (b'"completion_tokens": ', b'"output_tokens": ', b'"candidatesTokenCount": ')
    data = found.body
    for name in swaps:
        data = data.replace(name, name + b"-")
    return [found.start(), data]


STATUSES = (408, 409, 425, 429, 500, 502, 503, 504, 529)
WAITS = {
    "seconds": "Retry-After: 0\r\n",
    "date": "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nRetry-After: Mon, 01 Jan 2024 00:00:00 GMT\r\n",
    "ms": "Retry-After-Ms: 10\r\n",
    "negative": "Retry-After: -5\r\n",
    "huge": "Retry-After: 999999999999\r\n",
    "garbage": "Retry-After: soon\r\n",
}


def _status(code, extra=""):
    def fault(found, k):
        body = json.dumps(found.protocol.error(code, "scripted")).encode()
        return [head(status=code, length=len(body), extra=extra) + body]

    return fault


Fault = Callable[[Good, int], list]
PLACED: dict[str, Fault] = {
    f.__name__: f
    for f in (
        fin, rst, stall, dribble, garbage, json_malformed, json_truncated, json_nan, json_deep,
        json_number, error_event, line_of_10_mb, invalid_utf8,
    )
}  # fmt: skip
WHOLE: dict[str, Fault] = {
    f.__name__: f
    for f in (
        chunk_lie, chunk_long, chunk_nonsense, length_short, length_long, gzip_corrupt, gzip_bomb,
        informational_flood, header_of_1_mb, redirect_loop, redirect_away, html, error_in_200, empty,
        no_last_blank,
    )
} | {f"status_{code}": _status(code) for code in STATUSES} | {
    f"retry_after_{name}": _status(429, extra) for name, extra in WAITS.items()
}  # fmt: skip
HARMLESS: dict[str, Fault] = {
    f.__name__: f
    for f in (
        late, informational_few, wrong_type, split_bytes, split_pairs, carriage_return, crlf, bom,
        comments, unknown_fields, several_lines, one_piece, no_usage, negative_usage,
    )
}  # fmt: skip
STREAM_ONLY = {"carriage_return", "crlf", "bom", "comments", "unknown_fields", "several_lines"}
UNREACHABLE = ("refused", "no_host", "no_tls", "connect_hang")


@contextmanager
def unreachable(name):
    """The address of an endpoint that cannot be reached."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        if name in ("connect_hang", "no_tls"):
            listener.listen(0 if name == "connect_hang" else 9)
            waiting = [socket.socket() for _ in range(3 if name == "connect_hang" else 0)]
            for other in waiting:
                other.setblocking(False)
                other.connect_ex(("127.0.0.1", port))
            yield f"http{'s' if name == 'no_tls' else ''}://127.0.0.1:{port}"
            for other in waiting:
                other.close()
            return
    yield {
        "refused": f"http://127.0.0.1:{port}",
        "no_host": "http://no-such-host.invalid",
    }[name]
