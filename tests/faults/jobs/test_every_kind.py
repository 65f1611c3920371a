"""Every kind of job through the API of a real server with real workers: paused, resumed, cancelled, tried again, given up.

The server is killed in between: the worker it had goes on. Minutes on a busy machine, so off by default (`--every`).
"""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
from tests.fakes.platform_server import Client

from stead.core import lease
from stead.core.paths import Home
from stead.store.stores import Stores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MOST_S = 300.0
PADDING = 1 << 30  # zeros that a download has to hash: a second or more
KINDS = ("run", "evaluation", "export", "download")


class Server:
    """`stead serve` without a model, and its workers."""

    def __init__(self, home):
        self.home = Home(home)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.client = Client(f"http://127.0.0.1:{self._port}")
        self._log = (self.home.ensure().root / "server.log").open("ab")
        self.child = None

    def start(self):
        line = [sys.executable, "-m", "stead", "serve", "--no-token", "--port", str(self._port)]
        self.child = subprocess.Popen(line, env=dict(os.environ), stdout=self._log, stderr=self._log)  # fmt: skip
        self.until(self._is_up)

    def _is_up(self):
        with suppress(OSError):
            return self.client.get("/api/jobs").status == 200
        return False

    def until(self, check):
        end = time.monotonic() + MOST_S
        while not (found := check()):
            assert time.monotonic() < end, (self.home.root / "server.log").read_text()[-3000:]
            time.sleep(0.01)
        return found

    def job(self, name):
        return self.client.get(f"/api/jobs/{name}").json

    def state(self, name, *states):
        return self.until(lambda: (job := self.job(name))["state"] in states and job)

    def act(self, name, what):
        answer = self.client.post(f"/api/jobs/{name}/{what}")
        assert answer.status in (200, 202), answer.body
        return answer.json

    def worker(self, name):
        """Return the process that works on a job now, or None."""
        for file in self.home.runs.glob("*/job.json"):
            with suppress(OSError, ValueError):
                if json.loads(file.read_bytes()).get("job") == name:
                    return lease.holder(file.parent / ".worker")
        return None

    def hold(self, name):
        """Stop a job's worker where it is; return its process id."""
        pid = self.until(lambda: self.worker(name))
        os.kill(pid, signal.SIGSTOP)
        return pid

    def ask(self, name, what, pid):
        """Ask a held worker to end, and let it go on once it was told."""
        self.act(name, what)
        with Stores.open(self.home) as stores:
            self.until(lambda: stores.jobs.get(name).asked)
        os.kill(pid, signal.SIGCONT)

    def end(self):
        if self.child is not None:
            self.child.kill()
            self.child.wait()
        for file in self.home.runs.glob("*/.worker"):
            pid = lease.holder(file)
            if pid:
                psutil.Process(pid).kill()
        self._log.close()


@pytest.fixture
def server(home):
    made = Server(home)
    made.start()
    yield made
    made.end()


def padded(model, folder):
    """Copy a model and put a large tensor of zeros, a hole on disk, behind its weights."""
    shutil.copytree(model, folder)
    path = folder / "model.safetensors"
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header, end = json.loads(data[8 : 8 + size]), len(data) - 8 - size
    header["padding"] = {"dtype": "F32", "shape": [PADDING // 4], "data_offsets": [end, end + PADDING]}  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    os.truncate(path, 8 + len(text) + end + PADDING)
    return folder


@pytest.fixture
def orders(server, tiny_model, tmp_path):
    """Return what asks for one job of each kind; a new one at each call."""
    rows = tmp_path / "rows.jsonl"
    lines = [{"question": f"what is {i}?", "answer": f"two plus {i}"} for i in range(24)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    large = padded(tiny_model, tmp_path / "large")
    recipe = {
        "model": {"path": str(tiny_model), "dtype": "fp32"}, "data": {"path": str(rows), "max_length": 64},
        "trainer": {"max_steps": 300, "epochs": 500, "checkpoint_every": 20, "trackers": [], "proofs": False},
    }  # fmt: skip
    asked = {
        "run": ("/api/runs", {"config": recipe}),
        "evaluation": ("/api/evaluations", {"models": [str(tiny_model)], "data": str(rows), "metrics": ["exact_match"],
                                            "max_new_tokens": 8}),
        "export": ("/api/exports", {"model": str(tiny_model), "format": "gguf", "quant": "f16"}),
        "download": ("/api/hub/download", {"ref": str(large)}),
    }  # fmt: skip
    count = iter(range(1000))

    def order(kind):
        path, body = asked[kind]
        body = body | ({"name": f"{kind}-{next(count)}"} if kind in ("download", "export") else {})
        answer = server.client.post(path, body)
        assert answer.status == 202, answer.body
        return answer.json["job"]["id"]

    return order


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_is_paused_resumed_cancelled_and_tried_again(kind, server, orders):
    name = orders(kind)
    pid = server.hold(name)
    server.ask(name, "pause", pid)
    server.state(name, "paused")

    server.act(name, "resume")
    pid = server.hold(name)
    server.child.kill()
    server.child.wait()
    server.start()
    assert server.worker(name) == pid  # nobody harmed it
    server.ask(name, "cancel", pid)
    server.state(name, "cancelled")

    again = server.act(name, "retry")
    assert again["id"] != name
    server.state(again["id"], "succeeded")


def test_a_job_of_each_kind_that_kills_its_workers_is_given_up(server, orders):
    names = {kind: orders(kind) for kind in KINDS}
    left = dict(names)
    killed = {kind: set() for kind in KINDS}

    def kill():
        with Stores.open(server.home) as stores:
            for kind, name in list(left.items()):
                job = stores.jobs.get(name)
                if job.pid is not None and job.pid not in killed[kind]:
                    with suppress(ProcessLookupError):
                        os.kill(job.pid, signal.SIGKILL)
                        killed[kind].add(job.pid)
                if job.state == "failed":
                    del left[kind]
        return not left

    server.until(kill)

    for kind, name in names.items():
        job = server.job(name)
        assert job["error"]["code"] == "worker-died", kind
    line = [sys.executable, "-m", "stead", "jobs", "list", "--dead", "--json"]
    found = subprocess.run(line, capture_output=True, check=True, env=dict(os.environ))
    assert {one["id"] for one in json.loads(found.stdout)["items"]} == set(names.values())
    assert min(map(len, killed.values())) >= 6


def test_a_run_of_the_command_line_appears_while_it_trains(server, tiny_model, tmp_path):
    rows = tmp_path / "rows.jsonl"
    lines = [{"question": f"what is {i}?", "answer": f"two plus {i}"} for i in range(24)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    line = [sys.executable, "-m", "stead", "train", "--model", tiny_model, "--data", rows, "--name", "typed",
            "--epochs", "999", "--max-steps", "100000", "--out", tmp_path / "run", "--quiet"]  # fmt: skip
    child = subprocess.Popen([str(a) for a in line], env=dict(os.environ))

    def listed(*states):
        found = server.client.get("/api/runs?q=typed").json["items"]
        return [r for r in found if r["state"] in states]

    try:
        (run,) = server.until(lambda: listed("running"))
        server.until(lambda: server.client.get(f"/api/runs/{run['id']}").json["step"] > run["step"])
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(60)
    server.until(lambda: listed("cancelled"))
    kept = server.client.get(f"/api/runs/{run['id']}/metrics?keys=loss").json
    assert kept["steps"][:2] == [1, 2]
