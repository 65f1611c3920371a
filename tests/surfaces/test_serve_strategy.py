"""`stead serve --strategy` as a user runs it: keys of the store, limits, spend, log, metrics, fallback."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request

import openai
import pytest
from tests.fakes.vendors import Fault, mock_vendor

HELLO = [{"role": "user", "content": "one two"}]
pytestmark = pytest.mark.timeout(90)

STRATEGY = """
version: "2.0"
strategies:
  - name: mine
    description: two vendors on loopback
    components:
      cloud_api:
        type: openai_compatible
        config:
          provider: openai
          base_url: {url}
          api_key: ${{MINE_KEY}}
          default_model: gpt-4o-mini
    fallback_chain:
      - name: second
        type: openai_compatible
        config:
          provider: openai
          base_url: {url}
          api_key: ${{MINE_KEY}}
          default_model: gpt-4o
    optimization:
      retry_policy: {{max_attempts: 1}}
"""


@pytest.fixture(scope="module")
def vendor():
    """A mock vendor in a thread."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found = []

    async def run():
        async with mock_vendor() as made:
            found.append(made)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="module")
def environment(tmp_path_factory, vendor):
    keep = {k: v for k, v in os.environ.items() if k in {"PATH", "PYTHONPATH", "OMP_NUM_THREADS"}}
    return keep | {
        "STEAD_HOME": str(tmp_path_factory.mktemp("home")),
        "MINE_KEY": "sk-" + "v" * 24,
    }


def stead(environment, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "stead", *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def file(tmp_path_factory, vendor):
    path = tmp_path_factory.mktemp("strategy") / "mine.yaml"
    path.write_text(STRATEGY.format(url=vendor.url))
    return path


def test_a_key_made_while_the_server_runs_is_asked_for(environment, file, tmp_path):
    alone = environment | {"STEAD_HOME": str(tmp_path / "home")}
    server = subprocess.Popen(
        [sys.executable, "-m", "stead", "serve", "--strategy", str(file), "--port", "0", "--json", "--no-platform"],
        env=alone, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ready = json.loads(server.stdout.readline())
    with openai.OpenAI(base_url=ready["base_url"], api_key="none", max_retries=0) as door:
        before = door.chat.completions.create(model="mine", messages=HELLO)
        made = stead(alone, "keys", "create", "first", "--rpm", 1, "--json")["token"]
        keyed = door.with_options(api_key=made)
        keyed.chat.completions.create(
            model="mine", messages=HELLO
        )  # sees the key, whoever else comes
        with pytest.raises(openai.AuthenticationError):
            door.chat.completions.create(model="mine", messages=HELLO)
        with pytest.raises(openai.RateLimitError):
            keyed.chat.completions.create(model="mine", messages=HELLO)
    server.send_signal(signal.SIGTERM)
    _, err = server.communicate(timeout=30)

    assert before.choices[0].message.content
    assert "Traceback" not in err, err


@pytest.mark.spec("001-054")
def test_keys_limits_spend_log_and_metrics_of_a_served_strategy(environment, vendor, file):
    wide = stead(environment, "keys", "create", "wide", "--json")["token"]
    narrow = stead(environment, "keys", "create", "narrow", "--rpm", 1, "--json")["token"]
    server = subprocess.Popen(
        [sys.executable, "-m", "stead", "serve", "--strategy", str(file), "--port", "0", "--json"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ready = json.loads(server.stdout.readline())

    def client(key):
        return openai.OpenAI(base_url=ready["base_url"], api_key=key, max_retries=0)

    with client(wide) as door, client(narrow) as small, client("sk-stead-no") as stranger:
        raw = door.chat.completions.with_raw_response.create(model="mine", messages=HELLO)
        small.chat.completions.create(model="mine", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as limited:
            small.chat.completions.create(model="mine", messages=HELLO)
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        vendor.faults.append(Fault(status=500))
        fallen = door.chat.completions.with_raw_response.create(model="mine", messages=HELLO)
        listed = [m.id for m in door.models.list()]
        asked = urllib.request.Request(
            ready["url"] + "/metrics", headers={"Authorization": f"Bearer {wide}"}
        )
        with urllib.request.urlopen(asked) as answer:
            metrics = answer.read().decode()
    server.send_signal(signal.SIGTERM)
    _, err = server.communicate(timeout=30)
    spent = stead(environment, "spend", "--by", "key", "--json")
    home = environment["STEAD_HOME"]
    with open(f"{home}/logs/app/access.log") as log:
        lines = [json.loads(x) for x in log]

    assert "Traceback" not in err, err
    assert ready["models"] == ["mine"]
    assert "mine" in listed
    assert float(raw.headers["x-stead-cost"]) > 0
    assert raw.headers["x-stead-model"].startswith("gpt-4o-mini")
    assert float(limited.value.response.headers["retry-after"]) > 0
    told = json.loads(fallen.headers["x-stead-deviations"])
    assert [d["kind"] for d in told] == ["fallback_used"]
    assert (
        'stead_requests_total{route="/v1/chat/completions",model="mine",status="429"' not in metrics
    )
    assert (
        'stead_requests_total{route="/v1/chat/completions",model="mine",status="200"} 3' in metrics
    )
    assert 'stead_breaker_state{candidate="' in metrics
    assert [x["status"] for x in lines if "completions" in x["path"]] == [200, 200, 429, 200]
    assert len(lines[0]["attempts"]) == 1
    secrets = (wide, narrow, environment["MINE_KEY"])
    assert not any(s in json.dumps(lines) + err + metrics for s in secrets)
    assert json.dumps(spent).count("wide") >= 1


def test_generate_and_chat_ask_through_a_strategy(environment, file):
    said = stead(
        environment, "generate", "one two", "--strategy", file, "--max-tokens", 3, "--json"
    )
    turns = stead(environment, "chat", "--strategy", file, "--quiet", "--json")

    assert said["text"] == "one0 two1 one2"
    assert turns == {"turns": []}
