"""The HTTP client against a raw socket server that answers exactly what a test says."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stead.core.errors import BackendError, BackendTimeout
from stead.core.http import Answer, Http, Waits

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def _head(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
    return head


class Server:
    """Answers each request of each connection with the next item of a script: bytes, a pause, None to close."""

    def __init__(self, *script: bytes | float | None) -> None:
        self.script = script
        self.heads: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append(await _head(reader))
                self.asked.set()
                for item in self.script:
                    if isinstance(item, bytes):
                        writer.write(item)
                        await writer.drain()
                    elif item is None:
                        return
                    else:
                        async with asyncio.timeout(item):
                            await reader.read(1)
                            return
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            writer.close()


async def get(server: Server, http: Http | None = None, **options: object) -> tuple[Answer, bytes]:
    client = Http() if http is None else http
    try:
        async with await client.open("GET", server.url + "/x?y=1", **options) as answer:  # type: ignore[arg-type]
            return answer, await answer.read()
    finally:
        if http is None:
            await client.close()


@pytest.mark.spec("000-090", "000-091")
async def test_one_connection_carries_many_requests() -> None:
    async with Server(PLAIN) as server:
        http = Http()
        for _ in range(5):
            answer, body = await get(server, http)
            assert (answer.status, body) == (200, b"hello")
        await http.close()
        assert server.connections == 1
        assert server.heads[0].startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_without_keepalive_each_request_has_its_own_connection() -> None:
    async with Server(PLAIN) as server:
        http = Http(keepalive_s=0)
        for _ in range(3):
            await get(server, http)
        assert server.connections == 3


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_an_answer_is_the_same_however_its_bytes_are_split(data: st.DataObject) -> None:
    whole = (
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;e=1\r\ndefg\r\n0\r\nTrail: t\r\n\r\n"
    )
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    async def run() -> None:
        async with Server(*pieces) as server:
            answer, body = await get(server)
            assert body == b"abcdefg"
            assert answer.headers["x-A"] == "1, 2"
            assert "link" not in answer.headers

    asyncio.run(run())


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    async with Server(b"HTTP/1.1 200 OK\r\n\r\nsome", b"thing", None) as server:
        assert (await get(server))[1] == b"something"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ((None,), "connection-lost"),
        ((b"nonsense\r\n\r\n",), "connection-lost"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", None), "connection-lost"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", None), "connection-lost"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", None), "connection-lost"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",), "connection-lost"),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_000_000,), "connection-lost"),
        ((b"HTTP/1.1 102 P\r\n\r\n" * 40,), "connection-lost"),
        ((b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",), "encoded-answer"),
        ((5.0,), "first-byte-timeout"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", 5.0), "between-bytes-timeout"),
    ],
)  # fmt: skip
async def test_a_broken_answer_is_a_typed_error(
    script: tuple[bytes | float | None, ...], code: str
) -> None:
    async with Server(*script) as server:
        with pytest.raises(BackendError) as raised:
            await get(server, waits=Waits(first_s=0.2, between_s=0.2))
        assert raised.value.code == code


async def test_bytes_after_the_answer_are_not_the_next_answer() -> None:
    async with Server(PLAIN + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") as server:
        http = Http()
        assert (await get(server, http))[1] == b"hello"
        assert (await get(server, http))[1] == b"hello"
        assert server.connections == 2
        await http.close()


async def test_the_deadline_bounds_every_wait() -> None:
    async with Server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", 5.0) as server:
        began = time.monotonic()
        with pytest.raises(BackendTimeout) as raised:
            await get(server, deadline=began + 0.2)
        assert raised.value.code == "deadline"
        assert time.monotonic() - began < 2


async def test_cancelling_closes_the_socket() -> None:
    async with Server(5.0) as server:
        http = Http()
        task = asyncio.create_task(get(server, http))
        await server.asked.wait()
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(2):
            await server.closed.wait()
        assert time.monotonic() - began < 0.25


async def test_the_limit_makes_requests_wait_their_turn() -> None:
    async with Server(PLAIN) as server:
        http = Http(connections=2)
        found = await asyncio.gather(*(get(server, http) for _ in range(20)))
        assert {body for _, body in found} == {b"hello"}
        assert server.connections <= 2
        await http.close()


async def test_a_large_body_is_read_slowly_without_piling_up() -> None:
    size = 3_000_000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    async with Server(head, b"x" * size) as server:
        http = Http()
        async with await http.open("GET", server.url) as answer:
            await asyncio.sleep(0.1)
            found = [part async for part in answer]
        assert sum(map(len, found)) == size
        assert max(map(len, found)) < 2_000_000
        await http.close()


async def test_an_answer_above_the_limit_is_refused() -> None:
    async with Server(PLAIN) as server:
        http = Http()
        async with await http.open("GET", server.url) as answer:
            with pytest.raises(BackendError, match="more than 3 bytes"):
                await answer.read(3)
        await http.close()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/x",
        "http://u:p@h/",
        "http://h/a b",
        "http://h/\r\nX: 1",
        "http:///x",
        "http://h:99999/",
    ],
)
async def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(BackendError) as raised:
        await Http().open("GET", url)
    assert raised.value.code == "bad-url"


async def test_a_header_cannot_smuggle_a_line() -> None:
    with pytest.raises(BackendError) as raised:
        await Http().open("GET", "http://127.0.0.1:1/", headers={"X": "a\r\nY: b"})
    assert raised.value.code == "bad-url"


async def test_nobody_listening_is_told() -> None:
    with pytest.raises(BackendError) as raised:
        await Http().open("GET", "http://127.0.0.1:1/")
    assert raised.value.code == "connection-refused"
