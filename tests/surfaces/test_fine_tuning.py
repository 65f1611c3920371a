"""The official `openai` client fine-tunes a local model: every call of the surface, and each refusal."""

import asyncio
import io
import json
import threading
import time
from contextlib import ExitStack

import openai
import pydantic
import pytest
from tests.fakes.platform_server import platform_server

from stead.app import tuned_begin
from stead.app.access import Grant, create
from stead.store.users import User

NAME = "tiny"


def sums(count, start=0):
    turns = (
        [{"role": "user", "content": f"What is {i} plus 1?"}, {"role": "assistant", "content": f"{i + 1}"}]
        for i in range(start, start + count)
    )  # fmt: skip
    return "".join(json.dumps({"messages": one}) + "\n" for one in turns)


def pairs(count):
    rows = (
        {
            "input": {"messages": [{"role": "user", "content": f"What is {i} plus 1?"}]},
            "preferred_output": [{"role": "assistant", "content": f"{i + 1}"}],
            "non_preferred_output": [{"role": "assistant", "content": f"{i}"}],
        }
        for i in range(count)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def client_of(url, key="none"):
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def upload(client, text, purpose="fine-tune"):
    return client.files.create(file=("rows.jsonl", io.BytesIO(text.encode())), purpose=purpose).id


def wait(client, job, *states, seconds=40):
    until = time.monotonic() + seconds
    while job.status not in states:
        assert time.monotonic() < until, job
        assert job.status not in ("failed", "cancelled"), job.error
        time.sleep(0.05)
        job = client.fine_tuning.jobs.retrieve(job.id)
    return job


def settled(client, job, seconds=20):
    """Wait until a job's files have been read."""
    until = time.monotonic() + seconds
    while job.status == "validating_files":
        assert time.monotonic() < until, job
        time.sleep(0.02)
        job = client.fine_tuning.jobs.retrieve(job.id)
    return job


def order(client, file, **options):
    options = {"model": NAME, "training_file": file} | options
    return settled(client, client.fine_tuning.jobs.create(**options))


def check_typed(value):
    """Every field is one that the client's own model knows, of the type that it says."""
    raw = value.model_dump(mode="json")
    if raw.get("status") == "paused":
        raw["status"] = (
            "running"  # the vendor's pause route answers it, its client's type has not heard
        )
    type(value).model_validate(raw, strict=False)

    def extras(model):
        assert not model.model_extra, model
        for name in type(model).model_fields:
            inner = getattr(model, name)
            for one in inner if isinstance(inner, list) else [inner]:
                if isinstance(one, pydantic.BaseModel):
                    extras(one)

    extras(value)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture(scope="module")
def server(root, tiny_model):
    """A server whose queue stands still."""
    with platform_server(root, keyed=False, models={NAME: str(tiny_model)}) as found:
        yield found


@pytest.fixture(scope="module")
def client(server):
    with client_of(server[0]) as found:
        yield found


@pytest.fixture
def clients():
    with ExitStack() as stack:
        yield stack


@pytest.mark.spec("002-003")
def test_a_local_model_is_tuned_answers_and_outlives_the_server(tmp_path, tiny_model, clients):
    with platform_server(
        tmp_path, keyed=False, models={NAME: str(tiny_model)}, works=True
    ) as found:
        client = clients.enter_context(client_of(found[0]))
        job = client.fine_tuning.jobs.create(
            model=NAME, training_file=upload(client, sums(16)), seed=3, suffix="sums",
            validation_file=upload(client, sums(4, 50)), metadata={"team": "a"},
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 8}}},
            extra_body={"stead": {"trainer.lr": 0.01}},
        )  # fmt: skip
        assert job.status == "validating_files"
        done = wait(client, job, "succeeded")
        events = list(client.fine_tuning.jobs.list_events(job.id, limit=2))
        points = client.fine_tuning.jobs.checkpoints.list(job.id).data
    with platform_server(tmp_path, keyed=False, works=True) as found:
        client = clients.enter_context(client_of(found[0]))
        again = client.fine_tuning.jobs.retrieve(job.id)
        listed = [model.id for model in client.models.list()]
        with pytest.raises(openai.BadRequestError, match="is an adapter"):
            client.fine_tuning.jobs.create(
                model=done.fine_tuned_model, training_file=done.training_file
            )
        answers = {
            name: client.chat.completions.create(
                model=name, messages=[{"role": "user", "content": "What is 1 plus 1?"}], max_tokens=8,
            )
            for name in (points[0].fine_tuned_model_checkpoint, done.fine_tuned_model)
        }  # fmt: skip
        with pytest.raises(openai.NotFoundError, match="no local model"):
            client.chat.completions.create(model=f"{done.fine_tuned_model}:ckpt-step-7", messages=[{"role": "user", "content": "a"}])  # fmt: skip
        table = client.files.content(again.result_files[0]).text.splitlines()

    assert again == done
    assert done.fine_tuned_model.startswith("ft:tiny:stead:sums:")
    assert (done.seed, done.hyperparameters.n_epochs, done.method.type) == (3, 1, "supervised")
    assert done.trained_tokens > 0
    assert done.finished_at >= done.created_at
    words = [event.message for event in reversed(events)]
    assert words[0] == f"Created fine-tuning job: {job.id}"
    assert "Fine-tuning job started" in words
    assert done.fine_tuned_model in words[-1]
    assert len({event.id for event in events}) == len(events)
    steps = [event.data for event in events if event.type == "metrics"]
    assert steps[0]["step"] == steps[0]["total_steps"] == 2
    assert steps[0]["train_loss"] > 0
    assert points[0].step_number == 1
    assert points[0].fine_tuned_model_checkpoint.endswith(":ckpt-step-1")
    assert done.fine_tuned_model in listed
    assert table[0].startswith("step,train_loss")
    assert [line.split(",")[0] for line in table[1:]] == ["1", "2"]
    for value in (job, done, *events, *points):
        check_typed(value)
    assert all(answer.usage.completion_tokens > 0 for answer in answers.values())


def test_jobs_are_listed_page_by_page_paused_resumed_and_cancelled(client):
    file = upload(client, sums(12))
    made = [order(client, file, metadata={"n": str(n)}).id for n in range(3)]

    pages = client.fine_tuning.jobs.list(limit=2)
    assert [job.id for job in pages.data] == made[:0:-1]
    assert pages.has_more
    assert [job.id for job in pages] == made[::-1]
    only = client.fine_tuning.jobs.list(metadata={"n": "1"})
    assert [job.id for job in only] == [made[1]]

    jobs = client.fine_tuning.jobs
    assert jobs.retrieve(made[0]).status == "queued"
    assert jobs.pause(made[0]).status == "paused"
    assert jobs.list_events(made[0]).data[0].message == "The job has been paused"
    assert jobs.resume(made[0]).status == "queued"
    assert jobs.cancel(made[0]).status == "cancelled"
    assert jobs.list_events(made[0], limit=2, after=jobs.list_events(made[0], limit=1).data[0].id).data[1].level == "info"  # fmt: skip
    with pytest.raises(openai.BadRequestError) as refused:
        jobs.cancel(made[0])
    assert "Job has already completed" in refused.value.message
    for id_ in made[1:]:
        jobs.cancel(id_)


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"training_file": "file-none"}, "training_file", "invalid training_file: file-none"),
        ({"training_file": "../../etc/passwd"}, "training_file", "invalid training_file"),
        ({"validation_file": "file-none"}, "validation_file", "invalid validation_file"),
        ({"training_file": "batch"}, "training_file", "purpose"),
        ({"model": "none"}, "model", "Model none is not available for fine-tuning or does not exist."),
        ({"model": "/etc/passwd"}, None, "/etc/passwd"),
        ({"suffix": "a/b"}, "suffix", "suffix"),
        ({"seed": -1}, "seed", "seed"),
        ({"hyperparameters": {"lr": 1}}, "hyperparameters.lr", "unknown parameter"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "n_epochs"),
        ({"method": {"type": "reinforcement"}}, "method.type", "method.type"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": "x"}}}}, "method.dpo.hyperparameters.beta", "beta"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations", "integrations"),
        ({"metadata": {"k": "v" * 513}}, "metadata[...]", "length <= 512"),
        ({"extra_body": {"stead": {"data.path": "/etc/passwd"}}}, None, "/etc/passwd"),
        ({"extra_body": {"stead": {"trainer.nonsense": 1}}}, None, "nonsense"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_refused_at_once(client, change, param, words):
    file = change.get("training_file", "good")
    if file in ("good", "batch"):
        kind = "batch" if file == "batch" else "fine-tune"
        change = change | {"training_file": upload(client, sums(12), kind)}

    with pytest.raises(openai.APIStatusError) as refused:
        client.fine_tuning.jobs.create(**{"model": NAME} | change)

    assert refused.value.status_code in ((400,) if param else (400, 403))
    assert refused.value.type in ("invalid_request_error", "permission_error")
    assert (refused.value.param or "").startswith((param or "").removesuffix("[...]"))
    assert words in refused.value.message
    assert "/tmp" not in refused.value.message


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (sums(3), "invalid_n_examples", "Training file has 3 example(s), but must have at least 10 examples"),
        (sums(11) + "{\n", "invalid_file_format", "Invalid file format. Line 12"),
        (sums(1) * 240 + "{\n", "invalid_file_format", "Invalid file format. 1 rows cannot be used"),
        (sums(10) + sums(1, 40).replace('"assistant"', '"assistant", "weight": 0'), "unsupported_weight", "Line 11: a message of weight 0"),
        (pairs(12), "invalid_file_format", "Invalid file format"),
        ("\x00\x01PNG" * 40, "invalid_file_format", "Invalid file format"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_learnt_fails_its_job_and_says_why(client, text, code, words):
    good, bad = upload(client, sums(12)), upload(client, text)

    job = client.fine_tuning.jobs.create(model=NAME, training_file=bad)
    failed = settled(client, job)
    other = order(client, good, validation_file=bad)

    assert (job.status, job.error) == ("validating_files", None)
    assert (failed.status, failed.error.code, failed.error.param) == (
        "failed",
        code,
        "training_file",
    )
    assert words in failed.error.message
    assert "/tmp" not in failed.error.message
    assert failed.finished_at >= failed.created_at
    events = client.fine_tuning.jobs.list_events(job.id)
    assert [e.level for e in events] == ["error", "info", "info"]
    assert failed.error.message in events.data[0].message
    assert client.fine_tuning.jobs.checkpoints.list(job.id).data == []
    with pytest.raises(openai.BadRequestError, match="already completed"):
        client.fine_tuning.jobs.cancel(job.id)
    check_typed(failed)
    if code != "invalid_n_examples":
        assert other.error.param == "validation_file"
    elif other.status == "queued":  # a few rows are enough to validate on
        client.fine_tuning.jobs.cancel(other.id)


def test_a_job_that_is_validating_is_cancelled_or_read_again_by_the_next_server(
    tmp_path, tiny_model, clients, monkeypatch
):
    gate = threading.Event()
    real = tuned_begin.check_rows
    monkeypatch.setattr(tuned_begin, "check_rows", lambda *a: (gate.wait(20), real(*a)))
    with platform_server(tmp_path, keyed=False, models={NAME: str(tiny_model)}) as found:
        client = clients.enter_context(client_of(found[0]))
        file = upload(client, sums(12))
        first, second = (client.fine_tuning.jobs.create(model=NAME, training_file=file) for _ in "ab")  # fmt: skip
        with pytest.raises(openai.BadRequestError, match="cannot pause"):
            client.fine_tuning.jobs.pause(first.id)
        cancelled = client.fine_tuning.jobs.cancel(first.id)
    monkeypatch.setattr(tuned_begin, "check_rows", real)
    with platform_server(tmp_path, keyed=False) as found:
        client = clients.enter_context(client_of(found[0]))
        again = settled(client, client.fine_tuning.jobs.retrieve(second.id))
        still = client.fine_tuning.jobs.retrieve(first.id)
        gate.set()

    assert (cancelled.status, still.status, again.status) == ("cancelled", "cancelled", "queued")
    check_typed(cancelled)


def test_files_of_every_purpose_are_kept_listed_read_and_deleted(server):
    async def use():
        async with openai.AsyncOpenAI(base_url=f"{server[0]}/v1", api_key="none") as client:
            made = [
                await client.files.create(file=("a.jsonl", b"{}\n"), purpose=purpose)
                for purpose in ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
            ]
            listed = [one async for one in client.files.list(limit=2)]
            text = (await client.files.content(made[2].id)).text
            gone = [await client.files.delete(one.id) for one in made]
            with pytest.raises(openai.NotFoundError):
                await client.files.retrieve(made[0].id)
            with pytest.raises(openai.BadRequestError):
                await client.files.create(file=("a", b"x"), purpose="nonsense")
            return made, listed, text, gone

    made, listed, text, gone = asyncio.run(use())

    for value in (*(m for m in made if m.purpose != "evals"), *gone):
        check_typed(value)
    assert {one.id for one in made} <= {one.id for one in listed}
    assert text == "{}\n"


def test_preference_pairs_are_tuned_from_the_async_client(server):
    async def run():
        async with openai.AsyncOpenAI(base_url=f"{server[0]}/v1", api_key="none") as client:
            file = await client.files.create(
                file=("pairs.jsonl", pairs(12).encode()), purpose="fine-tune"
            )
            job = await client.fine_tuning.jobs.create(
                model=NAME, training_file=file.id,
                method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "learning_rate_multiplier": 2.0}}},
                extra_body={"stead": {"adapter.r": 4}},
            )  # fmt: skip
            found = [one async for one in client.fine_tuning.jobs.list()]
            while job.status == "validating_files":
                await asyncio.sleep(0.02)
                job = await client.fine_tuning.jobs.retrieve(job.id)
            await client.fine_tuning.jobs.cancel(job.id)
            return job, found

    job, found = asyncio.run(run())
    plan = server[1].stores.jobs.get(server[1].stores.runs.list(q=job.id).items[0].job).spec

    config = plan["plan"]["config"]
    assert job.id == found[0].id
    check_typed(job)
    assert job.method.dpo.hyperparameters.beta == 0.3
    assert (config["method"]["type"], config["method"]["beta"], config["adapter"]["r"]) == ("dpo", 0.3, 4)  # fmt: skip


def test_jobs_are_their_keys_and_a_key_without_a_user_tunes_nothing(tmp_path, tiny_model, clients):
    with platform_server(tmp_path, models={NAME: str(tiny_model)}) as (url, platform):
        keys, users = platform.accounts.keys, platform.users
        tokens = {}
        for name, role in (("ann", "member"), ("bob", "member"), ("eve", "viewer")):
            user = users.ensure(User(f"u-{name}", name, role, time.time())).id
            tokens[name] = create(keys, name, Grant(), now=time.time(), user_id=user).token.reveal()
        tokens["plain"] = create(keys, "plain", Grant(), now=time.time()).token.reveal()
        ann, bob, eve, plain = (
            clients.enter_context(client_of(url, tokens[n])) for n in ("ann", "bob", "eve", "plain")
        )
        job = ann.fine_tuning.jobs.create(model=NAME, training_file=upload(ann, sums(12)))

        for use in (bob.fine_tuning.jobs.retrieve, bob.fine_tuning.jobs.cancel):
            with pytest.raises(openai.NotFoundError):
                use(job.id)
        assert list(bob.fine_tuning.jobs.list()) == []
        with pytest.raises(openai.BadRequestError, match="invalid training_file"):
            bob.fine_tuning.jobs.create(model=NAME, training_file=job.training_file)
        for client in (eve, plain):
            with pytest.raises(openai.PermissionDeniedError):
                client.fine_tuning.jobs.create(model=NAME, training_file=upload(client, sums(12)))
        assert settled(ann, job).status == "queued"
