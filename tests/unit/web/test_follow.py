"""A run's events, followed over connections that break anywhere: every event once, in order, with its own words."""

import http.client
import json
import random
import socket
import time
from urllib.parse import urlsplit

import pytest
from tests.fakes.platform_server import browser, platform_server
from websockets.sync.client import connect

from stead.store.events import Stored
from stead.store.runs import Run

KILLS = 200


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with platform_server(tmp_path_factory.mktemp("follow")) as found:
        yield found


class Growing:
    """A run that tells more whenever it is asked to."""

    def __init__(self, platform, name):
        self.runs, self.database, self.name, self.count = platform.stores.runs, platform.stores.database, name, 0  # fmt: skip
        self.runs.add(Run(name, name, "running", "sft", "lora", "m", "d", str(platform.home.runs / name), time.time()))  # fmt: skip

    def tell(self, n):
        told = [Stored(i, {"seq": i, "event": "progress", "words": "ä\n" * (i % 50)}) for i in range(self.count, self.count + n)]  # fmt: skip
        self.database.transact(lambda c: self.runs.record(c, self.name, told=told))
        self.count += n


def stream(client, run, after, chance):
    """Read some of a stream and drop the connection; return (number, body) of the whole events that came."""
    at = urlsplit(client.url)
    head = {"Cookie": f"stead_session={client.cookie}"}
    query = ""
    if after >= 0 and chance.random() < 0.5:
        head["Last-Event-ID"] = str(after)
    elif after >= 0:
        query = f"?after={after}"
    line = http.client.HTTPConnection(at.hostname, at.port, timeout=10)
    line.request("GET", f"/api/runs/{run.name}/events{query}", headers=head)
    answer = line.getresponse()
    if chance.random() < 0.1:
        run.tell(3)  # while somebody listens
    wanted, data = chance.randrange(1, 9000), b""
    last = f"id: {run.count - 1}\n".encode()
    while len(data) < wanted and not (last in data and data.endswith(b"\n\n")):
        data += answer.read1(wanted - len(data))
    line.sock.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
    )  # reset, not closed
    answer.close()
    line.close()
    blocks = [b for b in data.split(b"\n\n")[:-1] if b.startswith(b"id: ")]
    pairs = (block.split(b"\n", 1) for block in blocks)
    return [(int(n[4:]), json.loads(body.removeprefix(b"data: "))) for n, body in pairs]


def listen(client, run, after, chance):
    """The same over the socket."""
    cookie = {"Cookie": f"stead_session={client.cookie}"}
    url = client.url.replace("http", "ws") + "/api/live"
    found = []
    with connect(url, additional_headers=cookie, origin=client.url, proxy=None, close_timeout=0) as live:  # fmt: skip
        topic = f"run/{run.name}"
        live.send(json.dumps({"subscribe": [topic]} | ({"after": {topic: after}} if after >= 0 else {})))  # fmt: skip
        for _ in range(chance.randrange(1, run.count - after)):
            told = json.loads(live.recv(timeout=10))
            found.append((told["id"], told["data"]))
        live.socket.shutdown(socket.SHUT_RDWR)
    return found


@pytest.mark.parametrize("follow", [stream, listen])
def test_whoever_follows_misses_nothing_and_hears_nothing_twice(server, follow):
    client, chance = browser(*server), random.Random(7)
    run, heard = Growing(server[1], f"r-{follow.__name__}"), []
    for _ in range(KILLS):
        run.tell(chance.randrange(2, 12))
        heard += follow(client, run, heard[-1][0] if heard else -1, chance)

    assert [number for number, _ in heard] == list(range(len(heard)))
    assert len(heard) > KILLS
    assert all(body["words"] == "ä\n" * (n % 50) and body["seq"] == n for n, body in heard)


def test_a_wish_for_another_topic_leaves_the_others_where_they_are(server):
    client = browser(*server)
    one, two = (Growing(server[1], name) for name in ("r-one", "r-two"))
    one.tell(5), two.tell(2)
    cookie = {"Cookie": f"stead_session={client.cookie}"}
    url = client.url.replace("http", "ws") + "/api/live"

    with connect(url, additional_headers=cookie, origin=client.url, proxy=None) as live:
        live.send('{"subscribe": ["run/r-one"]}')
        heard = [json.loads(live.recv(timeout=10)) for _ in range(5)]
        live.send('{"subscribe": ["run/r-one", "run/r-two", "run/none"]}')
        heard += [json.loads(live.recv(timeout=10)) for _ in range(3)]
        live.send("{")
        wrong = json.loads(live.recv(timeout=10))
        one.tell(1)
        heard.append(json.loads(live.recv(timeout=10)))
        live.send(b"\x00")
        with pytest.raises(Exception, match="1003"):
            live.recv(timeout=10)

    numbers = [(m["topic"], m["id"]) for m in heard if "error" not in m["data"]]
    assert numbers == [*(("run/r-one", i) for i in range(5)), ("run/r-two", 0), ("run/r-two", 1), ("run/r-one", 5)]  # fmt: skip
    assert [m["data"]["error"]["code"] for m in heard if "error" in m["data"]] == ["no-run"]
    assert (wrong["topic"], wrong["data"]["code"]) == ("error", "invalid-request")
