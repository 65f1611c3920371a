"""The embedded llama.cpp as a program of its own: starts, answers, cancels, ends with its parent."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from stead.core import process
from stead.core.errors import ModelError, ProcessError
from stead.core.http import Http
from stead.engines.engine import ENGINES, Order
from stead.inference.fill import Filled
from stead.inference.remote import Remote
from stead.messages import EmbedRequest, GenerateRequest, Message, Sampling

CHAT = GenerateRequest(
    model="tiny",
    messages=(Message("user", "hello"),),
    sampling=Sampling(max_tokens=8, temperature=0),
)


def order(path, **more):
    return Order(model=str(path), name="tiny", threads=1, parallel=2, **more)


@pytest.fixture(scope="module")
def running(tiny_gguf, tmp_path_factory):
    engine = ENGINES.create("llama_cpp")
    endpoint = engine.start(order(tiny_gguf), tmp_path_factory.mktemp("engine") / "one")
    yield engine, endpoint
    engine.stop()


def talk(running, work):
    engine, endpoint = running

    async def run():
        http = Http(keepalive_s=0)
        backend = Filled(Remote(endpoint.url, token=endpoint.token, http=http), engine.lacks)
        try:
            return await work(backend)
        finally:
            await backend.close()

    return asyncio.run(run())


async def collect(stream):
    return [c async for c in stream]


@pytest.mark.spec("000-031")
def test_it_answers_whole_streamed_and_with_vectors(running):
    async def work(backend):
        whole = await backend.generate(CHAT)
        chunks = await collect(backend.stream(CHAT))
        vectors = await backend.embed(EmbedRequest(model="tiny", input=("a", "b c")))
        return whole, chunks, vectors

    whole, chunks, vectors = talk(running, work)

    assert whole.usage.completion_tokens == 8
    assert whole.choices[0].finish_reason == "length"
    assert "".join(c.text for c in chunks) == whole.text
    assert chunks[-1].usage.completion_tokens == 8
    assert [len(v) for v in vectors.vectors] == [64, 64]


def test_the_same_seed_gives_the_same_text_and_another_one_another(running):
    def seeded(seed):
        sampling = Sampling(max_tokens=12, temperature=1.0, seed=seed)
        request = GenerateRequest(model="tiny", prompt="the quick", sampling=sampling)
        return talk(running, lambda b: b.generate(request)).text

    assert seeded(5) == seeded(5)
    assert len({seeded(s) for s in range(4)}) > 1


def test_log_probabilities_have_as_many_alternatives_as_asked(running):
    def asked(k):
        sampling = Sampling(max_tokens=3, temperature=0, logprobs=k)
        request = GenerateRequest(model="tiny", prompt="the", sampling=sampling)
        return talk(running, lambda b: b.generate(request)).choices[0].logprobs

    assert [len(t.top) for t in asked(2)] == [2] * len(asked(2))
    assert asked(0)
    assert all(t.top == () and t.logprob < 0 for t in asked(0))


def test_a_stop_text_ends_the_answer_before_it(running):
    whole = talk(running, lambda b: b.generate(CHAT)).text
    stop = next(c for c in whole[1:] if c.isascii() and c not in whole[:1])
    request = GenerateRequest(
        model="tiny",
        messages=CHAT.messages,
        sampling=Sampling(max_tokens=8, temperature=0, stop=(stop,)),
    )

    found = talk(running, lambda b: b.generate(request))

    assert found.text == whole[: whole.index(stop)]
    assert found.choices[0].finish_reason == "stop"


@pytest.fixture(scope="module")
def long_running(tiny_model, tmp_path_factory):
    """An engine whose model may write 32,768 tokens, which would take it the better part of a minute."""
    from stead.exporting.formats.gguf import GGUF
    from stead.exporting.source import Source

    folder = tmp_path_factory.mktemp("long") / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 32768}))
    GGUF().export(Source.open(folder), folder.parent / "long.gguf", quant="f32")
    engine = ENGINES.create("llama_cpp")
    endpoint = engine.start(order(folder.parent / "long.gguf"), folder.parent / "engine")
    yield engine, endpoint
    engine.stop()


@pytest.mark.parametrize("streamed", [True, False])
def test_leaving_stops_the_generation(long_running, streamed):
    """More endless answers than slots are begun and left; a new one is answered only if they stopped."""
    endless = GenerateRequest(
        model="tiny",
        prompt="the",
        sampling=Sampling(max_tokens=30_000, logit_bias={"2": -100.0}),  # never the end token
    )

    async def leave(backend):
        if streamed:
            chunks = backend.stream(endless)
            await anext(chunks)
            await chunks.aclose()
        else:
            task = asyncio.create_task(backend.generate(endless))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.wait({task})

    async def work(backend):
        for _ in range(4):
            await leave(backend)
        begun = time.monotonic()
        await backend.generate(CHAT)
        return time.monotonic() - begun

    assert talk(long_running, work) < 5


@pytest.mark.parametrize("damage", ["truncated", "other", "absent"])
def test_a_file_that_is_no_model_is_a_typed_error_with_the_last_words(tiny_gguf, tmp_path, damage):
    path = tmp_path / "bad.gguf"
    if damage == "truncated":
        path.write_bytes(tiny_gguf.read_bytes()[:200_000])
    elif damage == "other":
        path.write_bytes(b"hello" * 100)

    with pytest.raises(ModelError, match=r"bad\.gguf") as caught:
        ENGINES.create("llama_cpp").start(order(path), tmp_path / "engine")

    assert caught.value.code == "load-failed"
    assert "last words" in caught.value.message


def test_an_adapter_is_refused_with_the_command_that_helps(tiny_gguf, tmp_path):
    with pytest.raises(ModelError, match="adapter") as caught:
        ENGINES.create("llama_cpp").start(order(tiny_gguf, adapter="/a"), tmp_path / "engine")

    assert caught.value.code == "adapter-not-loadable"
    assert caught.value.hint.startswith("stead export")


def test_a_foreign_token_is_refused_by_the_program(running):
    async def work(_):
        backend = Remote(running[1].url, token="wrong")
        try:
            await backend.generate(CHAT)
        finally:
            await backend.close()

    from stead.core.errors import BackendError

    with pytest.raises(BackendError) as caught:
        talk(running, work)

    assert caught.value.code == "upstream-auth"


def test_a_program_that_dies_is_told_with_its_log(tiny_gguf, tmp_path, monkeypatch):
    monkeypatch.setattr(ENGINES.get("llama_cpp"), "module", "stead.no_such_module")

    with pytest.raises(ProcessError, match="no_such_module") as caught:
        ENGINES.create("llama_cpp").start(order(tiny_gguf), tmp_path / "engine")

    assert caught.value.code in {"engine-died", "no-start"}


def test_the_program_ends_when_its_parent_is_killed(tiny_gguf, tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from stead.engines.engine import ENGINES, Order\n"
        "e = ENGINES.create('llama_cpp')\n"
        f"p = e.start(Order(model={str(tiny_gguf)!r}, name='t', threads=1), Path({str(tmp_path / 'e')!r}))\n"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    until = time.monotonic() + 15
    while _alive(pid) and time.monotonic() < until:
        time.sleep(0.05)

    assert not _alive(pid)


def _alive(pid):
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_engines_say_whether_they_can_work_and_why_not(monkeypatch):
    class Needy(ENGINES.get("llama_cpp")):
        requires = ("no_such_library",)

    found = Needy.is_available()

    assert not found.ok
    assert "no_such_library" in found.reason
    assert found.hint == "pip install 'stead[local]'"
    assert ENGINES.get("llama_cpp").is_available().ok


def test_stopping_twice_is_allowed_and_leaves_nothing(tiny_gguf, tmp_path):
    engine = ENGINES.create("llama_cpp")
    endpoint = engine.start(order(tiny_gguf), tmp_path / "engine")

    engine.stop()
    engine.stop()

    assert not engine.is_alive()
    assert not _alive(endpoint.pid)
    assert not (tmp_path / "engine").exists()
    assert process.environment().get("STEAD_ENGINE_TOKEN") is None
