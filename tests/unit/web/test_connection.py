"""The process around the server, over real sockets: slow and endless clients, hostile bytes, the drain."""

import http.client
import json
import socket
import time

import pytest
from tests.fakes.serving import served

from stead.inference.backends.echo import Echo
from stead.serving.settings import Settings
from stead.web import connection

CHAT = "/v1/chat/completions"
ASK = {"model": "echo", "messages": [{"role": "user", "content": "a b c d e f"}]}
JSON = {"Content-Type": "application/json"}


def port_of(url):
    return int(url.rpartition(":")[2])


@pytest.fixture(scope="module")
def server():
    patience = pytest.MonkeyPatch()
    patience.setattr(connection.Patience, "header_s", 0.4)
    patience.setattr("stead.web.server.patient", lambda kind: connection.patient(kind, 0.4))
    with served(Echo(), settings=Settings(body_wait_s=0.4)) as (url, _, _):
        yield port_of(url)
    patience.undo()


def talk(port, data, *, wait_s=2.0):
    """Send bytes; return what comes until the other side closes or is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as sock:
        sock.sendall(data)
        found = b""
        try:
            while piece := sock.recv(65536):
                found += piece
        except (TimeoutError, ConnectionError):
            pass
        return found


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", b"408"),
        (b"GET /health HT", b"408"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: y", b"408"),
        (b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
         b"\r\nContent-Length: 50\r\n\r\n", b"408"),
        (b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
         b"\r\nContent-Length: 50\r\n\r\n{", b"408"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000, b"431"),
    ],
)  # fmt: skip
def test_half_sent_requests_end_in_time(server, data, status):
    begun = time.monotonic()

    answer = talk(server, data)

    assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
    assert time.monotonic() - begun < 2.5


def test_many_half_open_connections_do_not_slow_a_healthy_client(server):
    open_ = [socket.create_connection(("127.0.0.1", server)) for _ in range(200)]
    for sock in open_:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: lo")
    times = []
    for _ in range(20):
        begun = time.monotonic()
        client = http.client.HTTPConnection("127.0.0.1", server, timeout=5)
        client.request("POST", CHAT, json.dumps(ASK), JSON)
        assert client.getresponse().read()
        client.close()
        times.append(time.monotonic() - begun)
    for sock in open_:
        sock.settimeout(5)
        assert sock.recv(100).startswith(b"HTTP/1.1 408")
        sock.close()

    assert sorted(times)[10] < 0.25  # seconds; one alone takes a few milliseconds


HOSTILE = [
    b"\x00" * 500,
    b"GET\r\n\r\n",
    b"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET //evil HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://evil/health HTTP/1.1\r\nHost: evil\r\n\r\n",
    b"GET /v1/files?limit=-1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"BREW /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100000\r\n\r\n" + b"[" * 100_000,
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bytes_are_never_a_fault_of_ours(server, data, capfd):
    answer = talk(server, data, wait_s=0.2)

    assert not answer.startswith(b"HTTP/1.1 5"), answer[:300]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(("drain_s", "ends"), [(5.0, "[DONE]"), (0.1, "error")])
def test_a_stop_lets_streams_finish_or_tells_them_and_refuses_the_new(drain_s, ends):
    with served(Echo(delay_s=0.1), drain_s=drain_s) as (url, _, stop):
        idle = http.client.HTTPConnection("127.0.0.1", port_of(url), timeout=10)
        idle.request("GET", "/health")
        idle.getresponse().read()
        client = http.client.HTTPConnection("127.0.0.1", port_of(url), timeout=10)
        client.request("POST", CHAT, json.dumps(ASK | {"stream": True}), JSON)
        answer = client.getresponse()
        stop()
        idle.request("POST", CHAT, json.dumps(ASK), JSON)
        refused = idle.getresponse()
        refused.read()
        text = answer.read().decode()
        client.close()
        idle.close()

    last = text.strip().split("\n\n")[-1]
    assert (refused.status, refused.getheader("connection")) == (503, "close")
    assert ends in last
    assert ("[DONE]" in text) is (ends == "[DONE]")
