"""Reads of `/api` over real HTTP with a full store, and the page's first load: `python bench/api.py [--runs N] [--points N]`.

The store is filled first (10,000 runs and 5 M points of metrics; one run has 100,000 steps), then `stead serve` is
started in a process of its own and asked one request at a time over one kept connection. Bars: p99 ≤ 20 ms for each
read; all that the page loads first ≤ 300 kB gzipped and there ≤ 1 s after it is asked for. One JSON line.
"""

import argparse
import http.client
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

KEYS = ("loss", "lr", "grad_norm", "tokens_per_s", "peak_rss_mib")
BIG_STEPS = 100_000
BAR_MS, BAR_BYTES, BAR_S = 20.0, 300_000, 1.0


def fill(home: Path, runs: int, points: int) -> list[str]:
    """Store runs with their measurements; return the ids of the long run and of two with folders."""
    import sqlalchemy as sa

    from stead.app.database import open_database
    from stead.core.paths import Home
    from stead.store import metrics
    from stead.store.tables import RUNS

    database = open_database(Home(home).ensure())
    each = max(1, (points - BIG_STEPS) // (runs - 1) // len(KEYS))
    draw = random.Random(1)
    for start in range(0, runs, 200):
        numbers = range(start, min(runs, start + 200))

        def work(connection: Any, numbers: range = numbers) -> None:
            connection.execute(sa.insert(RUNS), [_row(home, n, each) for n in numbers])
            for n in numbers:
                steps, keys = (BIG_STEPS, KEYS[:1]) if n == 0 else (each, KEYS)
                series = {
                    k: [(s, 3 / (s + 1) ** 0.3 + draw.random()) for s in range(steps)] for k in keys
                }
                metrics.append(connection, f"run-{n:05d}", series)

        database.transact(work)
    for n in (1, 2):
        folder = home / "runs" / f"run-{n:05d}"
        folder.mkdir(parents=True)
        plan = {"hash": "x", "config": {"trainer": {"lr": n / 1000, "epochs": 3}}, "forecast": {}}
        (folder / "plan.json").write_text(json.dumps(plan))
        lines = (json.dumps({"step": s, "loss": 1 / (s + n)}) for s in range(each))
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    database.close()
    return ["run-00000", "run-00001", "run-00002"]


def _row(home: Path, n: int, steps: int) -> dict[str, Any]:
    from dataclasses import asdict

    from stead.store.runs import Run

    state = ("succeeded", "failed", "cancelled")[n % 3]
    return asdict(
        Run(f"run-{n:05d}", f"sums {n}", state, "sft", "lora", "tiny", "data", str(home / "runs" / f"run-{n:05d}"),
            1.7e9 + n, step=steps, steps=steps, loss=1.0, tags=["a"])
    )  # fmt: skip


class Client:
    """One kept connection."""

    def __init__(self, url: str) -> None:
        self._line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def get(self, path: str, *, gzip: bool = False) -> bytes:
        """Return the body of a read that must go well."""
        self._line.request("GET", path, headers={"Accept-Encoding": "gzip"} if gzip else {})
        answer = self._line.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:300]!r}")
        return body


def measured(client: Client, path: str, n: int, server: Any) -> dict[str, float]:
    """Ask `n` times; return milliseconds at the median and the 99th of a hundred, the server's CPU time, the bytes."""
    client.get(path)
    times, size, before = [], 0, server.cpu_times()
    for _ in range(n):
        begun = time.perf_counter()
        size = len(client.get(path))
        times.append((time.perf_counter() - begun) * 1000)
    times.sort()
    after = server.cpu_times()
    cpu_ms = (after.user + after.system - before.user - before.system) * 1000 / n
    return {
        "cpu_ms": round(cpu_ms, 2),
        "p50_ms": round(times[n // 2], 2),
        "p99_ms": round(times[math.ceil(n * 0.99) - 1], 2),
        "bytes": size,
    }


def deep(client: Client, skip: int) -> str:
    """Return the place in the list of runs after `skip` of them."""
    place = ""
    while skip > 0:
        place = json.loads(
            client.get(f"/api/runs?limit={min(skip, 1000)}{place and '&after='}{place}")
        )["next"]
        skip -= 1000
    return place


def page(client: Client) -> dict[str, float]:
    """Load what the page asks for first: its document, scripts and styles."""
    begun = time.perf_counter()
    document = client.get("/", gzip=True)
    text = client.get("/").decode()
    names = re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', text)
    size = len(document) + sum(len(client.get(name, gzip=True)) for name in names)
    return {
        "bytes": size,
        "files": 1 + len(names),
        "seconds": round(time.perf_counter() - begun, 3),
    }


def reads(client: Client, runs: list[str], count: int) -> dict[str, str]:
    """Return the paths that are asked for, by what they are."""
    long, one, two = runs
    return {
        "list": "/api/runs?limit=50", "list deep": f"/api/runs?limit=50&after={deep(client, count // 2)}",
        "list by state": "/api/runs?state=failed&limit=50", "search": "/api/runs?q=sums%2042",
        "show": f"/api/runs/{one}", "metrics": f"/api/runs/{one}/metrics",
        "metrics of 100,000 steps": f"/api/runs/{long}/metrics?keys=loss&points=1000",
        "compare": f"/api/runs/compare?ids={one},{two}", "jobs": "/api/jobs", "home": "/api/home",
    }  # fmt: skip


def main() -> None:
    """Fill, serve, ask; status 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=5_000_000)
    parser.add_argument("--n", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        begun = time.perf_counter()
        stored = fill(home, given.runs, given.points)
        filled_s = round(time.perf_counter() - begun, 1)
        env = os.environ | {
            "STEAD_HOME": folder,
            "PYTHONPATH": str(ROOT / "src"),
            "STEAD_ENGINES__AUTO_DISCOVER": "false",
        }
        command = [
            sys.executable,
            "-m",
            "stead",
            "serve",
            "--port",
            "0",
            "--no-token",
            "--json",
            "--quiet",
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True)
        try:
            ready = json.loads(server.stdout.readline()) if server.stdout else {}
            client = Client(ready["url"])
            worker = psutil.Process(server.pid)
            found = {
                name: measured(client, path, given.n, worker)
                for name, path in reads(client, stored, given.runs).items()
            }
            first = page(client)
        finally:
            server.terminate()
            server.wait(30)
        size = sum(p.stat().st_size for p in home.glob("stead.db*"))
    missed = [name for name, one in found.items() if one["p99_ms"] > BAR_MS]
    missed += ["page"] if first["bytes"] > BAR_BYTES or first["seconds"] > BAR_S else []
    told = {"runs": given.runs, "points": given.points, "n": given.n, "filled_s": filled_s, "store_bytes": size,
            "load": [round(x, 2) for x in os.getloadavg()], "reads": found, "page": first, "missed": missed}  # fmt: skip
    print(json.dumps(told))
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
