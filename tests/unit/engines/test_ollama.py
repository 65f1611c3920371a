"""Ollama: its store through its API, its models as an engine, a Modelfile read as Ollama reads it."""

import asyncio
import json

import pytest
from tests.unit.engines.test_programs import ask, gone

from stead.core.errors import BackendError, ConfigError, MissingDependency, ModelError, NotFound
from stead.core.events import Finished, Progress, Started
from stead.engines import modelfile
from stead.engines.engine import ENGINES, Order
from stead.engines.ollama_api import OllamaApi
from stead.engines.program import free_port

SCRIPT = "ollama_program.py"
ORDER = Order(model="llama3.2:1b", name="small")


def do(url, work):
    async def run():
        api = OllamaApi(url)
        try:
            return await work(api)
        finally:
            await api.close()

    return asyncio.run(run())


def names(url):
    return {m.name: m.loaded_bytes for m in do(url, lambda a: a.stored())}


def test_a_running_server_loads_answers_and_unloads_on_stop(ollama_server, tmp_path):
    engine = ENGINES.create("ollama")
    endpoint = engine.start(ORDER, tmp_path / "engine")
    loaded, answer = names(ollama_server), ask(endpoint, model="llama3.2:1b")
    size = engine.memory_bytes()
    engine.stop()

    assert answer == "llama3.2:1b says hello there"
    assert loaded == {"llama3.2:1b": 1500}
    assert size == 1500
    assert names(ollama_server) == {"llama3.2:1b": 0}


def test_a_server_is_started_when_none_answers_and_ends_with_the_engine(
    put_program, tmp_path, monkeypatch
):
    put_program("ollama", SCRIPT)
    monkeypatch.setenv("STEAD_ENGINES_OLLAMA_URL", f"http://127.0.0.1:{free_port()}")
    engine = ENGINES.create("ollama")
    endpoint = engine.start(ORDER, tmp_path / "engine")
    answer = ask(endpoint, model="llama3.2:1b")
    engine.stop()

    assert answer == "llama3.2:1b says hello there"
    assert gone(endpoint.pid)


def test_without_auto_start_nothing_is_started(put_program, tmp_path, monkeypatch):
    put_program("ollama", SCRIPT)
    monkeypatch.setenv("STEAD_ENGINES_OLLAMA_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("STEAD_ENGINES_OLLAMA_AUTO_START", "false")

    with pytest.raises(MissingDependency) as caught:
        ENGINES.create("ollama").start(ORDER, tmp_path / "engine")

    assert caught.value.hint == "ollama serve"


def test_a_model_that_is_not_there_is_told_with_the_pull(ollama_server, tmp_path):
    with pytest.raises(NotFound) as caught:
        ENGINES.create("ollama").start(Order(model="nope:1b", name="n"), tmp_path / "engine")

    assert caught.value.hint == "stead ollama pull nope:1b"


def test_pull_tells_its_progress_and_a_failure_is_a_failure(ollama_server):
    events = []
    do(ollama_server, lambda a: a.pull("tiny:latest", events.append))
    done = [e.done for e in events if isinstance(e, Progress)]

    assert [type(e) for e in events if not isinstance(e, Progress)] == [Started, Finished]
    assert events[0].total == done[-1] == 3_000_000
    assert done == sorted(done)
    assert "tiny:latest" in names(ollama_server)
    with pytest.raises(BackendError, match="file does not exist"):
        do(ollama_server, lambda a: a.pull("no-such-model"))


def test_a_gguf_becomes_a_model_and_can_be_deleted(ollama_server, tmp_path):
    weights = tmp_path / "w.gguf"
    weights.write_bytes(b"GGUF" * 700_000)
    (tmp_path / "Modelfile").write_text(
        '# mine\nFROM ./w.gguf\nTEMPLATE """{{ .Prompt }}\n{{ .Response }}"""\nSYSTEM "be brief"\n'
        "PARAMETER temperature 0\nPARAMETER stop <|im_end|>\nPARAMETER stop </s>\n"
        "MESSAGE user hello\n"
    )
    read = modelfile.read(tmp_path / "Modelfile")
    do(ollama_server, lambda a: a.create("mine:v1", read))
    asked = json.loads((tmp_path / "log").read_text().splitlines()[-1])["asked"]

    assert {m.name: m.size_bytes for m in do(ollama_server, lambda a: a.stored())}[
        "mine:v1"
    ] == 2_800_000
    assert asked["template"] == "{{ .Prompt }}\n{{ .Response }}"
    assert asked["system"] == "be brief"
    assert asked["parameters"] == {"temperature": 0, "stop": ["<|im_end|>", "</s>"]}
    assert asked["messages"] == [{"role": "user", "content": "hello"}]
    do(ollama_server, lambda a: a.delete("mine:v1"))
    assert "mine:v1" not in names(ollama_server)
    with pytest.raises(NotFound):
        do(ollama_server, lambda a: a.delete("mine:v1"))


@pytest.mark.parametrize(
    ("text", "where"),
    [("FORM x\n", ":1:"), ('FROM a\nSYSTEM """x\n', ":2:"), ("SYSTEM x\n", "no FROM"), ("FROM a\nPARAMETER stop\n", "stop")],
)  # fmt: skip
def test_a_bad_modelfile_is_refused_with_its_line(tmp_path, text, where):
    (tmp_path / "Modelfile").write_text(text)

    with pytest.raises(ConfigError, match=where):
        modelfile.read(tmp_path / "Modelfile")


def test_a_file_that_is_gone_is_refused_before_anything_is_made(ollama_server, tmp_path):
    (tmp_path / "Modelfile").write_text("FROM ./gone.gguf\n")

    with pytest.raises(ModelError, match=r"gone\.gguf"):
        do(ollama_server, lambda a: a.create("x", modelfile.read(tmp_path / "Modelfile")))
