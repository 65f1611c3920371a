"""The gateway beside its peers in one run: requests per second, added latency, streams, memory.

One mock upstream on loopback (nginx, or a chunk server), wrk as the client, one worker process each; ours with
key check, routing, limits and ledger on. Needs nginx and wrk; LITELLM names LiteLLM's executable.
    python bench/gateway.py [--rounds 3] [--seconds 5] [--only ours,bare]
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from pairs import HERE, machine

PEERS = HERE / "peers"
KEY = "sk-9f8e7d6c5b4a39281706f5e4d3c2b1a0ffeeddcc"
ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"mock","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"Hello there, this is a mock answer."},"finish_reason":"stop"}],'
    '"usage":{"prompt_tokens":10,"completion_tokens":8,"total_tokens":18}}'
)
NGINX = """worker_processes 1; pid mock.pid; error_log stderr; events { worker_connections 2048; }
http { access_log off; keepalive_requests 1000000; server { listen 127.0.0.1:%d;
 location / { default_type application/json; return 200 '%s'; } } }
"""
LUA = """wrk.method = "POST"
wrk.body = '{"model":"mock","messages":[{"role":"user","content":"Hello, how are you today?"}]}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
"""
STRATEGY = """version: "2.0.0"
strategies:
  - name: bench
    components:
      cloud_api:
        type: openai_compatible
        config: {{provider: custom, base_url: "{url}", default_model: mock, api_key: x}}
    routing_rules:
      - {{condition: 'input.length > 100000', target: cloud_api, priority: low}}
    constraints: {{daily_budget: 1000000.0, max_tokens: 4096}}
"""
LITELLM = """model_list:
  - model_name: mock
    litellm_params: {{model: openai/mock, api_base: "{url}/v1", api_key: x}}
general_settings: {{master_key: {key}}}
"""


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def program(argv: list[str], port: int, env: dict[str, str] | None = None) -> Iterator[int]:
    """Run a program until the block ends, once its port answers; yield its pid."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(argv, env=os.environ | (env or {}), stdout=log, stderr=log)
        try:
            _await_port(child, port, log)
            yield child.pid
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)


def _await_port(child: "subprocess.Popen[bytes]", port: int, log: IO[bytes]) -> None:
    until = time.monotonic() + 90
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if child.poll() is not None or time.monotonic() > until:
            log.seek(0)
            raise SystemExit(f"a program did not start:\n{log.read()[-2000:].decode()}")
        time.sleep(0.1)


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process and its children in MiB."""
    tree, total = [pid], 0
    while tree:
        one = tree.pop()
        status = Path(f"/proc/{one}/status").read_text()
        total += int(re.findall(r"VmRSS:\s+(\d+)", status)[0])
        tree += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return round(total / 1024, 1)


def wrk(url: str, connections: int, seconds: int, work: Path, key: str) -> dict[str, Any]:
    """Load a server for some seconds; return what wrk says, times in ms."""
    script = work / "post.lua"
    script.write_text(LUA % key)
    argv = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{int(seconds)}s",
        "--latency",
        "-s",
        str(script),
        url,
    ]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}

    def percentile(name: str) -> float:
        number, unit = re.findall(rf"{name}%\s+([\d.]+)(us|ms|s)", said)[0]
        return round(float(number) * scale[unit], 3)

    bad = re.findall(r"Non-2xx or 3xx responses: (\d+)", said)
    lost = re.findall(r"Socket errors: .*", said)
    return {
        "rps": float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0]),
        "p50_ms": percentile("50"),
        "p99_ms": percentile("99"),
        "errors": int(bad[0]) if bad else 0,
        "lost": lost,
    }


def uvicorn(app: str, port: int) -> list[str]:
    """Return the command of a raw ASGI program."""
    return [
        sys.executable, "-m", "uvicorn", app, "--port", str(port), "--loop", "uvloop", "--http", "httptools",
        "--log-level", "warning", "--no-access-log", "--app-dir", str(PEERS),
    ]  # fmt: skip


class Bench:
    """The programs under test over one upstream."""

    def __init__(self, stack: ExitStack, upstream: str, work: Path, only: set[str]) -> None:
        self.urls: dict[str, str] = {}
        self.pids: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self._stack, self._upstream, self._work = stack, upstream, work
        for name in ("bare", "ours", "litellm"):
            if name in only:
                getattr(self, f"_{name}")()

    def _start(self, name: str, argv: list[str], port: int, env: dict[str, str], key: str) -> None:
        self.pids[name] = self._stack.enter_context(program(argv, port, env))
        self.urls[name] = f"http://127.0.0.1:{port}/v1/chat/completions"
        self.keys[name] = key

    def _bare(self) -> None:
        port = free_port()
        env = {"UPSTREAM": f"{self._upstream}/v1/chat/completions"}
        self._start("bare", uvicorn("bare_passthrough:app", port), port, env, KEY)

    def _ours(self) -> None:
        port, home = free_port(), self._work / f"home-{free_port()}"
        env = {"STEAD_HOME": str(home), "PYTHONPATH": str(HERE.parent / "src")}
        strategy = self._work / "bench.yaml"
        strategy.write_text(STRATEGY.format(url=self._upstream))
        stead = [sys.executable, "-m", "stead"]
        made = subprocess.run(
            [*stead, "keys", "create", "bench", "--rpm", "100000000", "--daily-budget", "1000000", "--json"],
            check=True, capture_output=True, text=True, env=os.environ | env,
        )  # fmt: skip
        key = json.loads(made.stdout.strip().splitlines()[-1])["token"]
        argv = [*stead, "serve", "--strategy", str(strategy), "--port", str(port), "--quiet"]
        self._start("ours", argv, port, env, key)

    def _litellm(self) -> None:
        found = os.environ.get("LITELLM", "")
        if not found:
            return
        port, config = free_port(), self._work / "litellm.yaml"
        config.write_text(LITELLM.format(url=self._upstream, key=KEY))
        argv = [found, "--config", str(config), "--port", str(port), "--num_workers", "1"]
        env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
        self._start("litellm", argv, port, env, KEY)

    def warm(self) -> None:
        """Ask everybody once, so that nobody pays for the first request."""
        body = b'{"model":"mock","messages":[{"role":"user","content":"Hello"}]}'
        for name, url in self.urls.items():
            headers = {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self.keys[name]}",
            }
            request = urllib.request.Request(url, body, headers)
            until = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(request).read()
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.5)


def whole_answers(a: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Requests per second and latency at 1, 16 and 64 connections, in turn."""
    port = free_port()
    conf = work / "nginx.conf"
    conf.write_text(NGINX % (port, ANSWER))
    argv = ["nginx", "-p", str(work), "-c", str(conf), "-g", "daemon off;"]
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with ExitStack() as stack:
        stack.enter_context(program(argv, port))
        bench = Bench(stack, f"http://127.0.0.1:{port}", work, a.only)
        bench.warm()
        for _ in range(a.rounds):
            for connections in (1, 16, 64):
                for name, url in bench.urls.items():
                    row = wrk(url, connections, a.seconds, work, bench.keys[name])
                    rows.setdefault(name, {}).setdefault(str(connections), []).append(row)
        memory = {name: memory_mib(pid) for name, pid in bench.pids.items()}
        if "ours" in bench.pids and a.requests:
            memory |= _flat(bench, a.requests, work)
    medians = {
        name: {c: {k: _median(r, k) for k in ("rps", "p50_ms", "p99_ms", "errors")} for c, r in by.items()}
        for name, by in rows.items()
    }  # fmt: skip
    return {"whole": medians, "rss_mib": memory}


def _median(rows: list[dict[str, Any]], key: str) -> float:
    return round(statistics.median(float(r[key]) for r in rows), 3)


def _flat(bench: Bench, requests: int, work: Path) -> dict[str, float]:
    """Ask `requests` times more; return our memory before and after."""
    before, done = memory_mib(bench.pids["ours"]), 0.0
    while done < requests:
        done += wrk(bench.urls["ours"], 64, 10, work, bench.keys["ours"])["rps"] * 10
    return {"ours_before": before, "ours_after": memory_mib(bench.pids["ours"]), "requests": done}


def streams(a: argparse.Namespace, work: Path, pace_s: float) -> dict[str, Any]:
    """100 parallel streams of 200 chunks: chunks per second, and the delay of each chunk."""
    port = free_port()
    upstream = [sys.executable, str(PEERS / "chunk_upstream.py"), str(port), "200", str(pace_s)]
    rows: dict[str, list[dict[str, Any]]] = {}
    only = a.only - {"litellm"}
    with ExitStack() as stack:
        stack.enter_context(program(upstream, port))
        bench = Bench(stack, f"http://127.0.0.1:{port}", work, only)
        for _ in range(a.rounds):
            for name, url in bench.urls.items():
                argv = [
                    sys.executable,
                    str(PEERS / "stream_client.py"),
                    url,
                    bench.keys[name],
                    "100",
                ]
                said = subprocess.run(argv, check=True, capture_output=True, text=True)
                rows.setdefault(name, []).append(json.loads(said.stdout))
    return {n: {k: _median(r, k) for k in ("chunks", "chunks_per_s", "p50_ms", "p99_ms")} for n, r in rows.items()}  # fmt: skip


def main() -> None:
    """Run all parts, print and keep one line."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=5)
    p.add_argument("--requests", type=int, default=100_000, help="0: leave out the memory part")
    p.add_argument("--only", default="bare,ours,litellm", type=lambda text: set(text.split(",")))
    a = p.parse_args()
    missing = [name for name in ("nginx", "wrk") if shutil.which(name) is None]
    if missing:
        raise SystemExit(
            f"not run: {' and '.join(missing)} not installed; apt-get install nginx-light wrk"
        )
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        line: dict[str, Any] = {
            "bench": "gateway", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": machine(), "load": os.getloadavg()[0], **whole_answers(a, work),
        }  # fmt: skip
        line["streams_fast"] = streams(a, work, 0)
        line["streams_paced"] = streams(a, work, 0.02)
    line["rounds"] = a.rounds
    text = json.dumps(line)
    with (HERE / "results" / "gateway.jsonl").open("a") as out:
        out.write(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
