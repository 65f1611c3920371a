"""The official `openai` client: files, batches, headers of raw answers, against a fast fake model."""

import io
import json
import time

import openai
import pytest
from tests.fakes.serving import served

from stead.core.errors import BackendError
from stead.inference.backends.echo import Echo
from stead.inference.route import ByName
from stead.serving.settings import Settings

HELLO = [{"role": "user", "content": "one two"}]
CHAT = "/v1/chat/completions"


class Picky(Echo):
    """An echo that fails when told to."""

    async def generate(self, request, deadline=None):
        if request.messages is not None and "fail" in request.messages[-1].text:
            raise BackendError("upstream-failed", "the endpoint fell over")
        return await super().generate(request, deadline)


def line(number, text, **more):
    body = {"model": "echo", "messages": [{"role": "user", "content": text}]} | more
    return json.dumps({"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": body})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    backend = ByName({"echo": (Picky(), "echo")})
    settings = Settings(api_keys=("first-key", "second-key"), file_limit_bytes=500_000)
    with served(backend, settings=settings, files=tmp_path_factory.mktemp("files")) as found:
        yield found


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server[0] + "/v1", api_key="first-key", max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def other(server):
    with openai.OpenAI(base_url=server[0] + "/v1", api_key="second-key", max_retries=0) as found:
        yield found


def upload(client, text, purpose="batch", name="in.jsonl"):
    return client.files.create(file=(name, io.BytesIO(text.encode())), purpose=purpose)


def wait(client, batch):
    until = time.monotonic() + 20
    while batch.status in {"validating", "in_progress", "finalizing"}:
        assert time.monotonic() < until, batch
        time.sleep(0.02)
        batch = client.batches.retrieve(batch.id)
    return batch


def test_files_are_kept_listed_read_and_removed(client):
    text = "some text\r\n--not-a-boundary\r\n" * 9000  # more than one write to disk

    made = upload(client, text, "user_data", 'na"me.txt')

    assert (made.bytes, made.purpose, made.status) == (len(text), "user_data", "processed")
    assert made.id in [f.id for f in client.files.list(purpose="user_data")]
    assert made.id not in [f.id for f in client.files.list(purpose="batch")]
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == text.encode()
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_lists_come_in_pages(client):
    ids = {upload(client, "x", "evals", f"{i}").id for i in range(5)}

    found = [f.id for f in client.files.list(purpose="evals", limit=2)]

    assert set(found) == ids
    assert len(found) == 5


def test_a_key_does_not_see_anothers_files_and_batches(client, other):
    made = upload(client, line(1, "a"))
    batch = client.batches.create(input_file_id=made.id, endpoint=CHAT, completion_window="24h")

    assert made.id not in [f.id for f in other.files.list()]
    for ask in (
        lambda: other.files.retrieve(made.id),
        lambda: other.files.content(made.id),
        lambda: other.files.delete(made.id),
        lambda: other.batches.retrieve(batch.id),
        lambda: other.batches.cancel(batch.id),
        lambda: other.batches.create(input_file_id=made.id, endpoint=CHAT, completion_window="24h"),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert wait(client, batch).status == "completed"


def test_a_file_that_is_too_large_or_without_purpose_is_refused(client):
    with pytest.raises(openai.APIStatusError) as large:
        upload(client, "x" * 600_000)
    with pytest.raises(openai.BadRequestError) as purpose:
        upload(client, "x", "nonsense")

    assert large.value.status_code == 413
    assert purpose.value.param == "purpose"


def test_a_batch_answers_every_line_and_tells_failures_apart(client):
    lines = [line(i, f"text {i}") for i in range(30)]
    lines += [line("bad", "x", temperature=9), line("fail", "please fail")]
    made = upload(client, "\n".join(lines))

    batch = client.batches.create(
        input_file_id=made.id, endpoint=CHAT, completion_window="24h", metadata={"a": "b"}
    )
    batch = wait(client, batch)

    out = [json.loads(x) for x in client.files.content(batch.output_file_id).text.splitlines()]
    errors = [json.loads(x) for x in client.files.content(batch.error_file_id).text.splitlines()]
    texts = {x["custom_id"]: x["response"]["body"]["choices"][0]["message"]["content"] for x in out}
    counts = batch.request_counts
    assert batch.status == "completed"
    assert batch.metadata == {"a": "b"}
    assert (counts.total, counts.completed, counts.failed) == (32, 30, 2)
    assert texts == {f"r{i}": f"text {i}" for i in range(30)}
    assert {x["custom_id"]: x["response"]["status_code"] for x in errors} == {
        "rbad": 400,
        "rfail": 502,
    }
    assert batch.id in [b.id for b in client.batches.list(limit=3)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("not json", "invalid_json_line"),
        (line(1, "a") + "\n" + line(1, "b"), "duplicate_custom_id"),
        (line(1, "a").replace(CHAT, "/v1/embeddings"), "mismatched_url"),
        ("\n", "empty_file"),
    ],
)
def test_a_wrong_input_file_fails_the_batch_and_says_where(client, text, code):
    made = upload(client, text)

    batch = wait(
        client,
        client.batches.create(input_file_id=made.id, endpoint=CHAT, completion_window="24h"),
    )

    assert batch.status == "failed"
    assert [e.code for e in batch.errors.data] == [code]


def test_raw_headers_tell_the_request_and_the_model(client):
    raw = client.chat.completions.with_raw_response.create(model="echo", messages=HELLO)
    embedded = client.embeddings.with_raw_response.create(model="echo", input="a")
    streamed = client.chat.completions.with_raw_response.create(
        model="echo", messages=HELLO, stream=True
    )

    text = "".join(c.choices[0].delta.content or "" for c in streamed.parse())
    assert raw.parse().choices[0].message.content == text == "one two"
    for answer in (raw, embedded, streamed):
        assert answer.headers["x-stead-model"] == "echo"
        assert len(answer.headers["x-request-id"]) == 32
    assert raw.request_id == raw.headers["x-request-id"]
