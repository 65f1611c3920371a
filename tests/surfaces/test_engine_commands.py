"""models, bench-model and ollama as people type them, over a tiny model and a fake Ollama."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from tests.fakes.models import adapter_folder, model_folder
from tests.fakes.programs import ollama_server, put_program

from stead.inference.remote import Remote
from stead.messages import GenerateRequest, Message, Sampling

__all__ = ["ollama_server", "put_program"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, home):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.setenv("STEAD_ENGINES_OLLAMA_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)


def last(out):
    return json.loads(out.splitlines()[-1])


def test_models_lists_what_is_here_what_ollama_has_and_what_strategies_ask(
    ollama_server, stead, tmp_path, monkeypatch
):
    monkeypatch.setenv("STEAD_ENGINES_OLLAMA_URL", ollama_server)
    monkeypatch.setenv("STEAD_ENGINES_MODELS_DIRS", str(tmp_path / "mine"))
    model_folder(tmp_path / "mine" / "llama")
    adapter_folder(tmp_path / "mine" / "tickets")
    (tmp_path / "mine" / "g.sbs").write_bytes(b"SBS\n")

    status, out, _ = stead("models", "--json")
    found = {m["name"]: m for m in last(out)["models"]}

    assert status == 0
    assert {"llama", "tickets", "g", "ollama:llama3.2:1b"} <= found.keys()
    assert found["llama"]["by"] == "transformers"
    assert found["ollama:llama3.2:1b"]["by"] == "ollama"
    assert not found["g"]["available"]
    assert "pygemma" in found["g"]["reason"]
    cloud = [m for m in found.values() if m["place"] == "cloud"]
    assert all(m["by"] for m in cloud)
    assert any(m["reason"] for m in cloud)  # no key is set
    assert [m["place"] for m in last(stead("models", "--local", "--json")[1])["models"]] == [
        "local"
    ] * 4
    table = stead("models")[1]
    assert "ollama:llama3.2:1b" in table
    assert "g" in table


def test_a_new_file_is_listed_at_the_next_call(stead, tmp_path, monkeypatch):
    monkeypatch.setenv("STEAD_ENGINES_MODELS_DIRS", str(tmp_path / "mine"))
    assert last(stead("models", "--local", "--json")[1])["models"] == []
    model_folder(tmp_path / "mine" / "llama")

    assert len(last(stead("models", "--local", "--json")[1])["models"]) == 1
    monkeypatch.setenv("STEAD_ENGINES_AUTO_DISCOVER", "false")
    assert last(stead("models", "--local", "--json")[1])["models"] == []


@pytest.mark.spec("004-061")
def test_bench_model_measures_loading_first_token_rate_and_memory(stead, tiny_gguf):
    status, out, err = stead(
        "bench-model", tiny_gguf, "--runs", 2, "--tokens", 8, "--threads", 1, "--json", "--quiet"
    )
    assert status == 0, out + err
    found = last(out)["models"][0]

    assert (found["model"], found["engine"], found["runs"]) == ("tiny", "llama_cpp", 2)
    for name in ("load_s", "first_token_s", "tokens_per_s", "memory_bytes"):
        middle, least, most = found[name]
        assert 0 < least <= middle <= most
    assert found["load_s"][1] > 0.05  # a process was started
    assert found["memory_bytes"][1] > 20 << 20


def test_bench_model_refuses_what_is_not_there(stead):
    assert stead("bench-model", "/no/such/model")[0] == 2
    assert stead("bench-model", "x", "--runs", 0)[0] == 2


def test_ollama_from_the_command_line(ollama_server, stead, monkeypatch, tmp_path):
    monkeypatch.setenv("STEAD_ENGINES_OLLAMA_URL", ollama_server)
    (tmp_path / "w.gguf").write_bytes(b"GGUF")

    pulled = stead("ollama", "pull", "tiny:latest")
    missing = stead("ollama", "pull", "nope", "--json")
    ran = stead("ollama", "run", "tiny:latest", "hello", "--json")
    stead("ollama", "load", "tiny:latest")
    state = last(stead("ollama", "status", "--json")[1])
    stead("ollama", "unload", "tiny:latest")
    made = stead("ollama", "create", "mine:v1", tmp_path / "w.gguf", "--quiet")
    gone = stead("ollama", "remove", "llama3.2:1b")
    names = {
        m["name"]: m["loaded_bytes"] for m in last(stead("ollama", "list", "--json")[1])["models"]
    }

    assert pulled[:2] == (0, "pulled tiny:latest\n")
    assert (missing[0], last(missing[1])["error"]["code"]) == (1, "ollama-failed")
    assert last(ran[1])["text"] == "tiny:latest says hello"
    assert (state["version"], list(state["loaded"])) == ("0.20.1", ["tiny:latest"])
    assert made[0] == gone[0] == 0
    assert names == {"tiny:latest": 0, "mine:v1": 0}


def test_ollama_without_a_server_is_a_reason_and_a_command(stead, put_program):
    status, out, err = stead("ollama", "list", "--json")
    told = last(stead("ollama", "status", "--json")[1])

    assert (status, last(out)["error"]["hint"]) == (1, "ollama serve")
    assert "Traceback" not in err
    assert not told["available"]
    assert not told["running"]
    assert told["hint"]


def test_serve_all_models_loads_them_when_they_are_asked_for(tiny_gguf, home, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("one", "two"):
        (mine / f"{name}.gguf").symlink_to(shutil.copy(tiny_gguf, tmp_path / f"{name}.bin"))
    keep = {k: v for k, v in os.environ.items() if k in {"PATH", "PYTHONPATH", "OLLAMA_MODELS"}}
    more = {
        "STEAD_HOME": str(home),
        "STEAD_ENGINES_MODELS_DIRS": str(mine),
        "STEAD_ENGINES_PRELOAD": "two",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "stead", "serve", "--all-models", "--port", "0", "--json", "--quiet"],
        env=keep | more, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    try:
        ready = json.loads(server.stdout.readline())
        replies = [asyncio.run(ask(ready["url"], name)) for name in ("one", "two", "one")]
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)

    assert ready["models"] == ["one", "two"]
    assert [r.model for r in replies] == ["one", "two", "one"]
    assert {r.usage.completion_tokens for r in replies} == {3}


async def ask(url, model):
    backend = Remote(url)
    request = GenerateRequest(
        model=model,
        messages=(Message("user", "hi"),),
        sampling=Sampling(max_tokens=3, temperature=0),
    )
    try:
        return await backend.generate(request)
    finally:
        await backend.close()
