"""Forms in any split, files' limits, batches that survive their server."""

import asyncio
import json
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.asgi import call

from stead.core.errors import RateLimited, SteadError
from stead.inference.backends.echo import Echo
from stead.serving import multipart
from stead.serving.asgi import App
from stead.serving.batch_store import BatchStore
from stead.serving.file_store import FileStore
from stead.serving.settings import Settings

CHAT = "/v1/chat/completions"
BOUNDARY = b"XxX"
TYPE = (b"content-type", b"multipart/form-data; boundary=XxX")


def form(*parts):
    body = b""
    for name, filename, data in parts:
        file = b"" if filename is None else b'; filename="%s"' % filename
        body += b'--XxX\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n' % (name, file)
        body += data + b"\r\n"
    return body + b"--XxX--\r\n"


def read(body, cuts=()):
    async def pieces():
        edges = [0, *sorted(cuts), len(body)]
        for a, b in pairwise(edges):
            yield body[a:b]

    async def run():
        found = {}
        ended = []
        async for piece in multipart.pieces(pieces(), BOUNDARY):
            key = (piece.name, piece.filename)
            found[key] = found.get(key, b"") + piece.data
            ended += [key] if piece.last else []
        return found, ended

    return asyncio.run(run())


@given(st.data())
@settings(max_examples=60)
def test_a_form_reads_the_same_however_it_is_split(data):
    near = st.sampled_from([b"\r\n--XxX", b"\r\n--Xx", b"\r", b"\n", b"--", b"\r\n", b"a", b"\0"])
    content = b"".join(data.draw(st.lists(near, max_size=12)))
    content = content.replace(b"\r\n--XxX", b"\r\n--Xxy")  # a boundary inside is no content
    body = form((b"purpose", None, b"batch"), (b"file", b"a.txt", content), (b"e", None, b""))
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=20))

    found, ended = read(body, cuts)

    assert found == {("purpose", None): b"batch", ("file", "a.txt"): content, ("e", None): b""}
    assert ended == list(found)


@given(st.binary(max_size=200), st.integers(0, 200))
@settings(max_examples=60)
def test_no_form_is_a_fault_of_ours(noise, at):
    whole = form((b"file", b"a", b"x" * 50))
    codes = set()
    try:
        read(whole[:at] + noise + whole[at:])
    except SteadError as error:
        codes = {error.code}

    assert codes <= {"bad-form"}


@pytest.mark.parametrize(
    "body",
    [
        form((b"file", b"a", b"x"))[:-6],  # no end
        b"x" * 3000 + form((b"file", b"a", b"x")),  # a long preamble
        form(*[(b"n%d" % i, None, b"") for i in range(20)]),  # many parts
        b"--XxX\r\nA: " + b"b" * 10_000 + b"\r\n\r\n",  # a large head
        b"--XxX\r\nContent-Type: text/plain\r\n\r\nx\r\n--XxX--",  # no name
        b"--XxXjunk\r\n\r\n",
    ],
)
def test_hostile_forms_are_refused(body):
    with pytest.raises(SteadError) as error:
        read(body)

    assert error.value.code == "bad-form"


def app(folder, backend=None, **limits):
    return App(Echo() if backend is None else backend, Settings(**limits), files=folder)


async def upload(server, data, purpose=b"batch", **more):
    body = form((b"purpose", None, purpose), (b"file", b"in.jsonl", data))
    return await call(server, "/v1/files", body, headers=[TYPE], **more)


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (("/v1/files", b"x"), 415),
        (("/v1/files/../../etc/passwd", None), 404),
        (("/v1/files/file-%2e%2e", None), 400),
        (("/v1/files/file-1/other", None), 404),
        (("/v1/files/file-1", None), 404),
        (("/v1/batches/batch_1", None), 404),
        (("/v1/batches/batch_1/cancel", {}), 404),
        (("/v1/batches", {"input_file_id": "x", "endpoint": "/v1/none"}), 400),
        (("/v1/batches", {"input_file_id": "file-x", "endpoint": CHAT}), 404),
        (("/v1/batches", {"input_file_id": "x", "endpoint": CHAT, "more": 1}), 400),
    ],
)
def test_wrong_asks_are_refused(tmp_path, ask, status):
    answer = asyncio.run(call(app(tmp_path), *ask))

    assert (answer.status, "error" in answer.json) == (status, True)


def test_an_upload_that_is_left_or_too_large_leaves_nothing(tmp_path):
    async def run():
        server = app(tmp_path, file_limit_bytes=1000)
        large = await upload(server, b"x" * 100_000)
        gone = asyncio.Event()
        gone.set()
        body = form((b"purpose", None, b"batch"), (b"file", b"a", b"y" * 500))
        left = await call(server, "/v1/files", parts=[body[:300]], headers=[TYPE], leave=gone)
        return large, left

    large, _ = asyncio.run(run())

    assert large.status == 413
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_key_may_keep_so_much_and_no_more(tmp_path):
    store = FileStore(tmp_path, limit_bytes=10, limit_files=2)

    def keep(owner, data):
        with store.spool() as file:
            file.write(data)
            return store.keep(owner, file, "n", "evals")

    keep("a", b"12345678")
    with pytest.raises(RateLimited):
        keep("a", b"123")
    keep("b", b"123")
    keep("a", b"1")
    with pytest.raises(RateLimited):
        keep("a", b"")
    assert len(store.owned("a")) == 2
    assert not list(tmp_path.glob(".upload-*"))


def test_files_expire(tmp_path):
    now = [1000.0]
    store = FileStore(tmp_path, clock=lambda: now[0])
    with store.spool() as file:
        file.write(b"x")
        made = store.keep("a", file, "n", "evals", 3600)

    now[0] += 3601

    assert store.owned("a") == []
    assert not store.folder("a").joinpath(f"{made.id}.bin").exists()


class Counted(Echo):
    def __init__(self, *, after=0, **options):
        super().__init__(**options)
        self.texts = []
        self.after = after
        self.reached = asyncio.Event()

    async def generate(self, request, deadline=None):
        self.texts.append(request.messages[-1].text)
        if len(self.texts) == self.after:
            self.reached.set()
        return await super().generate(request, deadline)


def lines(count):
    def one(i):
        body = {"model": "echo", "messages": [{"role": "user", "content": f"t{i}"}]}
        return json.dumps({"custom_id": f"r{i}", "method": "POST", "url": CHAT, "body": body})

    return "\n".join(map(one, range(count))).encode()


async def begin(server, data):
    made = (await upload(server, data)).json
    asked = {"input_file_id": made["id"], "endpoint": CHAT, "completion_window": "24h"}
    return (await call(server, "/v1/batches", asked)).json["id"]


async def until(server, id_, wanted):
    end = time.monotonic() + 10
    while (found := (await call(server, f"/v1/batches/{id_}")).json)["status"] != wanted:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.01)
    return found


def test_a_batch_goes_on_after_its_server_and_a_torn_line_is_asked_again(tmp_path):
    async def run():
        slow = Counted(delay_s=0.03, after=7)
        first = app(tmp_path, slow, batch_parallel=2)
        id_ = await begin(first, lines(20))
        await slow.reached.wait()
        await first.close()
        (part,) = tmp_path.glob("*/*.part")
        done = part.read_bytes().count(b"\n")
        part.write_bytes(part.read_bytes() + b'{"id":"batch_req_1","custom_id":"r19","resp')
        quick = Counted()
        second = app(tmp_path, quick)
        await second._batches.resume()
        found = await until(second, id_, "completed")
        content = await call(second, f"/v1/files/{found['output_file_id']}/content")
        return done, quick.texts, found, content.body

    done, again, found, content = asyncio.run(run())

    answers = [json.loads(x) for x in content.splitlines()]
    assert 0 < done < 20
    assert len(again) == 20 - done
    assert found["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    assert sorted(a["custom_id"] for a in answers) == sorted(f"r{i}" for i in range(20))
    assert not list(tmp_path.glob("*/*.part"))


def test_a_batch_can_be_cancelled_and_keeps_what_is_answered(tmp_path):
    async def run():
        backend = Counted(delay_s=0.02, after=3)
        server = app(tmp_path, backend, batch_parallel=1)
        id_ = await begin(server, lines(50))
        await backend.reached.wait()
        found = (await call(server, f"/v1/batches/{id_}/cancel", {})).json
        again = await call(server, f"/v1/batches/{id_}/cancel", {})
        out = (await call(server, f"/v1/files/{found['output_file_id']}/content")).body
        return found, again, out, len(backend.texts)

    found, again, out, asked = asyncio.run(run())

    assert found["status"] == "cancelled"
    assert again.status == 409
    assert 2 <= out.count(b"\n") <= asked < 50


def test_a_batch_waits_for_a_limit_and_ends_when_its_window_does(tmp_path):
    class Limited(Counted):
        async def generate(self, request, deadline=None):
            if len(self.texts) == 1:
                self.texts.append("refused")
                raise RateLimited("rate-limited", "wait", retry_after_s=0.05)
            return await super().generate(request, deadline)

    async def run():
        server = app(tmp_path, Limited(), batch_parallel=1)
        one = await until(server, await begin(server, lines(3)), "completed")
        now = [2e9]
        late = app(tmp_path, Counted(delay_s=0.01), batch_parallel=1)
        late._batches.store = BatchStore(FileStore(tmp_path), clock=lambda: now[0])
        id_ = await begin(late, lines(5))
        now[0] += 25 * 3600
        two = await until(late, id_, "expired")
        errors = (await call(late, f"/v1/files/{two['error_file_id']}/content")).body
        return one, two, errors

    one, two, errors = asyncio.run(run())

    assert one["request_counts"]["completed"] == 3
    assert two["request_counts"]["total"] == 5
    assert b"batch_expired" in errors


def test_a_batch_for_a_route_that_is_gone_fails_and_says_so(tmp_path):
    async def run():
        first = app(tmp_path, Counted(delay_s=0.05), batch_parallel=1)
        id_ = await begin(first, lines(3))
        await first.close()
        second = App(Echo(), Settings(), ("openai_embeddings",), files=tmp_path)
        await second._batches.resume()
        return await until(second, id_, "failed")

    assert asyncio.run(run())["errors"]["data"][0]["code"] == "unknown_endpoint"
