"""Engines that are other people's programs: found, started, asked, stopped; never without a reason."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from stead.core.errors import BackendError, MissingDependency, ModelError, ProcessError
from stead.engines.engine import ENGINES, Order
from stead.engines.program import HttpProgram
from stead.inference.remote import Remote
from stead.messages import GenerateRequest, Message

SCRIPT = "openai_program.py"
KINDS = [("llama_server", "llama-server", "llama"), ("vllm", "vllm", "vllm")]


def order(model="/m/x.gguf", **more):
    return Order(model=model, name="tiny", parallel=2, **more)


def ask(endpoint, *, model="tiny", token=None, stream=False):
    async def run():
        backend = Remote(endpoint.url, token=endpoint.token if token is None else token)
        request = GenerateRequest(model=model, messages=(Message("user", "hello there"),))
        try:
            if stream:
                return "".join([c.text async for c in backend.stream(request)]).strip()
            return (await backend.generate(request)).text
        finally:
            await backend.close()

    return asyncio.run(run())


def logged(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def gone(pid, within_s=10.0):
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.spec("000-032")
@pytest.mark.parametrize(("kind", "program", "fake"), KINDS)
def test_a_program_is_started_asked_and_stopped(kind, program, fake, put_program, tmp_path):
    put_program(program, SCRIPT, "--fake-kind", fake, "--fake-log", tmp_path / "log")
    engine = ENGINES.create(kind)
    try:
        endpoint = engine.start(order(context=512), tmp_path / "engine")
        whole, streamed = ask(endpoint), ask(endpoint, stream=True)
        with pytest.raises(BackendError) as refused:
            ask(endpoint, token="wrong")
        size = engine.memory_bytes()
    finally:
        engine.stop()

    told = logged(tmp_path / "log")[0]
    assert whole == streamed == "tiny: hello there"
    assert refused.value.code == "upstream-auth"
    assert size > 5 << 20
    assert endpoint.token not in " ".join(told["argv"])
    assert "512" in told["argv"]
    assert gone(told["pid"])
    assert not engine.is_alive()


@pytest.mark.parametrize("name", ["llama_server", "vllm", "ollama", "gemma_cpp"])
def test_an_absent_program_is_a_reason_and_a_command(name, put_program, monkeypatch):
    monkeypatch.setenv("STEAD_ENGINES_OLLAMA_URL", "http://127.0.0.1:9")

    found = ENGINES.get(name).is_available()

    assert not found.ok
    assert found.reason
    assert found.hint


def test_a_program_named_by_the_settings_wins_over_the_path(put_program, monkeypatch):
    elsewhere = put_program("my-server", SCRIPT, "--fake-kind", "llama")
    put_program("llama-server", SCRIPT, "--fake-kind", "llama")
    monkeypatch.setenv("STEAD_ENGINES_LLAMA_SERVER", str(elsewhere))

    assert ENGINES.get("llama_server").command() == [str(elsewhere)]
    monkeypatch.setenv("STEAD_ENGINES_LLAMA_SERVER", "/no/such/server")
    assert "/no/such/server" in ENGINES.get("llama_server").is_available().reason


def test_a_program_that_ends_at_once_is_told_with_its_last_words(put_program, tmp_path):
    put_program("llama-server", SCRIPT, "--fake-kind", "llama", "--fake-die", "no such tensor")

    with pytest.raises(ProcessError, match="no such tensor") as caught:
        ENGINES.create("llama_server").start(order(), tmp_path / "engine")

    assert caught.value.code == "engine-died"


def test_a_port_taken_meanwhile_is_tried_again(put_program, tmp_path, monkeypatch):
    put_program(
        "llama-server", SCRIPT, "--fake-kind", "llama", "--fake-log", tmp_path / "log",
        "--fake-die", "bind: address already in use",
    )  # fmt: skip

    with pytest.raises(ProcessError, match="address already in use"):
        ENGINES.create("llama_server").start(order(), tmp_path / "engine")

    assert len({tuple(x["argv"]) for x in logged(tmp_path / "log")}) == 3


def test_the_program_ends_when_its_parent_is_killed(put_program, tmp_path):
    put_program("llama-server", SCRIPT, "--fake-kind", "llama", "--fake-log", tmp_path / "log")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom stead.engines.engine import ENGINES, Order\n"
        f"ENGINES.create('llama_server').start(Order(model='m', name='n'), Path({str(tmp_path / 'e')!r}))\n"
        "print('up', flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    parent.stdout.readline()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    assert gone(logged(tmp_path / "log")[0]["pid"])


def test_vllm_serves_an_adapter_by_the_orders_name(put_program, tmp_path):
    put_program("vllm", SCRIPT, "--fake-kind", "vllm", "--fake-log", tmp_path / "log")
    engine = ENGINES.create("vllm")
    try:
        endpoint = engine.start(order("/m", adapter="/a/tickets"), tmp_path / "engine")
        answer = ask(endpoint)
    finally:
        engine.stop()

    argv = logged(tmp_path / "log")[0]["argv"]
    assert answer == "tiny: hello there"
    assert argv[argv.index("--lora-modules") + 1] == "tiny=/a/tickets"
    assert "--enable-lora" in argv


def test_llama_server_refuses_an_adapter_folder_with_the_command_that_helps(put_program, tmp_path):
    put_program("llama-server", SCRIPT, "--fake-kind", "llama")

    with pytest.raises(ModelError) as caught:
        ENGINES.create("llama_server").start(order(adapter="/a"), tmp_path / "engine")

    assert caught.value.hint.startswith("stead export")


def test_starting_without_the_program_is_refused(put_program, tmp_path):
    with pytest.raises(MissingDependency) as caught:
        ENGINES.create("llama_server").start(order(), tmp_path / "engine")

    assert caught.value.code == "engine-unavailable"
    assert issubclass(ENGINES.get("llama_server"), HttpProgram)
