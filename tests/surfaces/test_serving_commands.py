"""The commands serve, generate and chat as a user runs them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

SERVE = ("-m", "stead", "serve", "--port", "0", "--model")
pytestmark = pytest.mark.timeout(60)


def stead(*arguments, stdin="", home):
    keep = {k: v for k, v in os.environ.items() if k in {"PATH", "PYTHONPATH", "OMP_NUM_THREADS"}}
    return subprocess.run(
        [sys.executable, "-m", "stead", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env=keep | {"STEAD_HOME": str(home)},
        check=False,
    )


def test_generate_prints_the_answer_and_one_json_object(tiny_gguf, home):
    options = ("--model", tiny_gguf, "--threads", 1, "--max-tokens", 6, "--seed", 1)

    plain = stead("generate", "hello", *options, "--stream", home=home)
    found = stead("generate", "-", *options, "--json", stdin="hello", home=home)
    raw = stead("generate", "hello", *options, "--raw", "--stop", "zzz", home=home)

    said = json.loads(found.stdout.splitlines()[-1])
    assert plain.returncode == found.returncode == raw.returncode == 0, plain.stderr
    assert plain.stdout == said["text"] + "\n"
    assert said["completion_tokens"] == 6
    assert said["finish_reason"] == "length"


def test_chat_reads_piped_turns_and_obeys_slash_commands(tiny_gguf, home):
    lines = "hello\n/system be brief\n/bogus\nagain\n/reset\nlast\n/exit\nnever\n"
    found = stead(
        "chat", "--model", tiny_gguf, "--threads", 1, "--max-tokens", 3, "--json",
        stdin=lines, home=home,
    )  # fmt: skip

    turns = json.loads(found.stdout.splitlines()[-1])["turns"]
    assert found.returncode == 0, found.stderr
    assert [t["role"] for t in turns] == ["system", "user", "assistant"]
    assert turns[1]["text"] == "last"
    assert "unknown command /bogus" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("generate", "x"), 2, "--model"),
        (("generate", "x", "--model", "/no/such"), 2, "/no/such"),
        (("generate", "x", "--url", "http://127.0.0.1:9"), 1, "127.0.0.1:9"),
        (("serve", "--model", "/no/such"), 2, "/no/such"),
        (("serve", "--model", "x", "--host", "0.0.0.0"), 2, "API key"),
        (("serve", "--model", "x", "--port", "99999"), 2, "port"),
    ],
)
def test_wrong_use_is_refused_without_a_traceback(arguments, status, words, home):
    found = stead(*arguments, home=home)

    assert found.returncode == status, found.stderr
    assert words in found.stderr
    assert "Traceback" not in found.stderr


def test_a_torn_model_is_one_typed_error(tiny_gguf, tmp_path, home):
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(tiny_gguf.read_bytes()[:150_000])

    found = stead("serve", "--model", torn, "--port", "0", "--json", home=home)

    assert found.returncode == 2
    assert json.loads(found.stdout.splitlines()[-1])["error"]["type"] == "ModelError"
    assert "Traceback" not in found.stderr


def test_a_port_in_use_is_told_with_another_one(tiny_gguf, home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = stead("serve", "--model", tiny_gguf, "--port", port, "--json", home=home)

    error = json.loads(found.stdout.splitlines()[-1])["error"]
    assert found.returncode == 1
    assert error["code"] == "port-in-use"
    assert str(port) in error["message"]
    assert error["hint"].startswith("stead serve --port ")


def test_serve_announces_itself_answers_the_other_commands_and_leaves_nothing(tiny_gguf, home):
    keep = {k: v for k, v in os.environ.items() if k in {"PATH", "PYTHONPATH"}}
    server = subprocess.Popen(
        [sys.executable, *SERVE, str(tiny_gguf), "--threads", "1", "--json"],
        env=keep | {"STEAD_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ready = json.loads(server.stdout.readline())
    asked = stead(
        "generate",
        "hi",
        "--url",
        ready["url"],
        "--max-tokens",
        3,
        "--temperature",
        0,
        "--json",
        home=home,
    )
    server.send_signal(signal.SIGINT)
    _, err = server.communicate(timeout=30)

    assert ready["model"] == "tiny"
    assert json.loads(asked.stdout)["completion_tokens"] == 3, asked.stderr
    assert f"curl {ready['url']}/v1/chat/completions" in err
    assert "Traceback" not in err
    assert server.returncode in {0, 130}
    with pytest.raises(ProcessLookupError):
        os.kill(ready["engine_pid"], 0)
    assert not list((home / "state" / "engines").glob("*"))


def test_the_engine_ends_when_serve_is_killed(tiny_gguf, home):
    keep = {k: v for k, v in os.environ.items() if k in {"PATH", "PYTHONPATH"}}
    server = subprocess.Popen(
        [sys.executable, *SERVE, str(tiny_gguf), "--threads", "1", "--json", "--quiet"],
        env=keep | {"STEAD_HOME": str(home)},
        stdout=subprocess.PIPE,
    )
    pid = json.loads(server.stdout.readline())["engine_pid"]
    server.kill()
    server.communicate()

    until = time.monotonic() + 15
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
        time.sleep(0.05)

    assert not os.path.exists(f"/proc/{pid}")
