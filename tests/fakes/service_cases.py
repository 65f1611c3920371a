"""A whole server in its own process under overload, faults, leaving and slow clients, judged from outside.

Knows nothing about how the server works: it is asked over sockets, and its process is looked at.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil
from tests.fakes.gateway_cases import Stood
from tests.fakes.vendors import Fault, mock_vendor

MODEL = "service"
_CHAT = "/v1/chat/completions"
_CHILD = Path(__file__).with_name("service_child.py")
_STRATEGY = """
version: "2.0"
strategies:
  - name: service
    components:
      cloud_api:
        type: openai_compatible
        config: {{provider: openai, base_url: "{url}", api_key: k-12345678, default_model: gpt-4o-mini}}
    optimization:
      retry_policy: {{max_attempts: 2, max_backoff: 0.02}}
"""


def body(words="one two three", **more):
    """Return a chat request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": words}]} | more


@dataclass
class Server:
    """A running server: its address and its process."""

    url: str
    child: subprocess.Popen = field(repr=False)
    log: Path = field(repr=False)

    @property
    def process(self):
        return psutil.Process(self.child.pid)

    def held(self):
        """Return (descriptors, threads, resident MB)."""
        found = self.process
        return found.num_fds(), found.num_threads(), found.memory_info().rss / 1e6

    async def stop(self, timeout_s=30):
        """Ask it to end; return its status and last words."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.child.wait, timeout_s)
        return self.child.returncode, self.log.read_text()


@asynccontextmanager
async def serving(upstream, work, *, bounds=None, drain_s=20.0):
    """Run a server in front of an upstream; with `bounds` it has those, else it is `stead serve` itself."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / "strategy.yaml"
    file.write_text(_STRATEGY.format(url=upstream))
    argv = [sys.executable, str(_CHILD), str(file), json.dumps(bounds)]
    if bounds is None:
        argv = [
            sys.executable, "-m", "stead", "serve", "--strategy", str(file), "--port", "0",
            "--json", "--no-platform", "--access-log", "none", "--drain-s", str(drain_s),
        ]  # fmt: skip
    keep = {k: v for k, v in os.environ.items() if k in {"PATH", "PYTHONPATH", "OMP_NUM_THREADS"}}
    log = (
        work / "stderr"
    )  # a file: a pipe that nobody reads would hold the server up when it is full
    with log.open("w") as words:
        child = subprocess.Popen(  # noqa: ASYNC220 - one program, and nothing else to do
            argv, env=keep | {"STEAD_HOME": str(work / "home")}, text=True,
            stdout=subprocess.PIPE, stderr=words,
        )  # fmt: skip
    try:
        line = await asyncio.to_thread(child.stdout.readline)
        if not line:
            child.wait()
            raise AssertionError(log.read_text())
        yield Server(json.loads(line)["url"], child, log)
    finally:
        if child.poll() is None:
            child.kill()
        child.stdout.close()
        child.wait()


def session(limit=0):
    """Return a client that keeps its connections."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit), timeout=aiohttp.ClientTimeout(20)
    )


def share(values, part):
    """Return a quantile; 0 of nothing."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0.0


async def overload(work, seconds):
    """GW6: ask ten times as much as can be answered; return what was wrong, and the figures."""
    places, delay_s = 8, 0.2
    offered = 10 * places / delay_s
    good, shed, wrong = [], [], []
    async with mock_vendor(always=Fault(delay_s=delay_s)) as vendor, Stood() as stood:
        bounds = {"concurrency": places, "queue": places, "queue_wait_s": 5.0}
        async with serving(vendor.url, work, bounds=bounds) as server, session() as client:

            async def once():
                begun, still = time.monotonic(), stood.seconds
                async with client.post(server.url + _CHAT, json=body()) as answer:
                    await answer.read()
                    took = time.monotonic() - begun - (stood.seconds - still)
                    if answer.status == 200:
                        good.append(time.monotonic())
                    elif answer.status not in (429, 503) or "Retry-After" not in answer.headers:
                        wrong.append(f"{answer.status} {dict(answer.headers)}")
                    else:
                        shed.append(took)
                    return answer.status

            async def loop(until):
                while time.monotonic() < until:
                    await once()

            await once()
            half = seconds / 2
            begun = time.monotonic()
            await asyncio.gather(*(loop(begun + half) for _ in range(places)))
            peak = len(good) / (time.monotonic() - begun)
            before = server.held()
            tasks, begun, sent = set(), time.monotonic(), 0
            good.clear()
            while (now := time.monotonic()) < begun + half:
                for _ in range(max(0, int((now - begun) * offered) - sent)):
                    tasks.add(asyncio.create_task(once()))
                    sent += 1
                await asyncio.sleep(0.01)
            loaded = len([at for at in good if at <= begun + half]) / half
            held = server.held()
            await asyncio.gather(*tasks)
            over = time.monotonic()
            while await once() != 200:  # noqa: ASYNC110 - asks meanwhile
                await asyncio.sleep(0.02)
            recovered = time.monotonic() - over
    growth = held[2] - before[2]
    wrong += [f"goodput {loaded:.1f} of {peak:.1f} a second"] if loaded < 0.9 * peak else []
    wrong += [f"refused after {share(shed, 0.99):.3f} s"] if share(shed, 0.99) > 0.05 else []
    wrong += [f"answers again after {recovered:.2f} s"] if recovered > 2 else []
    wrong += [f"{growth:.1f} MB more"] if growth > 30 else []
    wrong += ["nobody was refused"] if len(shed) < sent / 2 else []
    facts = {
        "offered_per_s": offered, "peak_per_s": round(peak, 1), "goodput_per_s": round(loaded, 1),
        "sent": sent, "shed": len(shed), "shed_p99_s": round(share(shed, 0.99), 4),
        "recovered_s": round(recovered, 3), "rss_growth_mb": round(growth, 1),
        "seconds_each": half,
    }  # fmt: skip
    return sent, wrong, facts


@dataclass
class Told:
    """What clients have been told: answers by kind, and their tokens."""

    ok: int = 0
    failed: int = 0
    left: int = 0
    tokens: int = 0


async def soak(work, seconds, seed=1, *, settle_s=31.0, leaving=0.02):
    """GW8: faults, leaving clients and whole and streamed answers for a time; the books are those of the clients.

    After `settle_s` connections that are kept for 15 seconds, and looked at as often, are closed; before, nobody
    counts descriptors.
    """
    rng, told, wrong = random.Random(seed), Told(), []
    samples = []
    async with mock_vendor(length=6) as vendor, serving(vendor.url, work) as server:
        async with session() as client:
            base = await _warm(server, client)
            begun = time.monotonic()
            workers = [
                asyncio.create_task(
                    _soaking(server, client, vendor, told, begun + seconds, rng, leaving)
                )
                for _ in range(8)
            ]
            while time.monotonic() < begun + seconds:
                await asyncio.sleep(min(1.0, seconds / 20))
                samples.append((time.monotonic() - begun, server.held()[2]))
            await asyncio.gather(*workers)
        await asyncio.sleep(settle_s)
        end = server.held()
        status, words = await server.stop()
    n = told.ok + told.failed + told.left
    slope = _slope(samples[len(samples) // 3 :])
    wrong += [f"ended with {status}"] if status != 0 else []
    wrong += [words[words.index("Traceback") - 300 :][:4000]] if "Traceback" in words else []
    wrong += [f"{n_} {was} before, {now_} after" for n_, was, now_ in
              zip(("descriptors", "threads"), base, end, strict=False) if now_ - was > 2 and settle_s > 15]  # fmt: skip
    kept = _kept(work / "home")
    expected = {"ok": told.ok, "failed": told.failed, "tokens": told.tokens}
    wrong += [f"the ledger has {kept}, the clients {expected}"] if kept != expected else []
    growth_mb = slope * seconds / 3600
    # Below an hour a slope says less than the allocator's steps: five megabytes in all are let pass.
    wrong += [f"{slope:.1f} MB more an hour"] if slope > 1 and growth_mb > 5 else []
    facts = {
        "ok": told.ok, "failed": told.failed, "left": told.left, "rss_mb": round(end[2], 1),
        "rss_slope_mb_per_hour": round(slope, 2), "descriptors": [base[0], end[0]],
        "threads": [base[1], end[1]], "seconds_of_load": seconds,
    }  # fmt: skip
    return n, wrong, facts


async def _warm(server, client):
    """Ask until everything is loaded; return what the process holds without connections."""
    for stream in (False, True) * 25:
        async with client.post(server.url + _CHAT, json=body(stream=stream)) as answer:
            await answer.read()
    await asyncio.sleep(0.3)
    return server.held()


async def _soaking(server, client, vendor, told, until, rng, leaving):
    """One client: asks again and again; 5 % of its requests meet faults, `leaving` are left."""
    while time.monotonic() < until:
        stream, kind = rng.random() < 0.5, rng.random()
        words = " ".join("word" for _ in range(rng.randrange(1, 40)))
        if kind < leaving:
            told.left += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(rng.random() * 0.02):
                    await _once(server, client, body(words, stream=stream), tags="left")
            continue
        if kind < leaving + 0.05:  # whoever comes next meets it; mostly the second attempt is well
            more = (Fault(status=500),) if rng.random() < 0.2 else ()
            vendor.script(Fault(status=rng.choice([500, 503])), *more)
        status, tokens = await _once(server, client, body(words, stream=stream))
        told.ok += status == 200
        told.failed += status != 200
        told.tokens += tokens


async def _once(server, client, asked, tags="stay"):
    """Ask once; return the status and the tokens that the answer says."""
    if asked.get("stream"):
        asked = asked | {"stream_options": {"include_usage": True}}
    async with client.post(
        server.url + _CHAT, json=asked, headers={"x-stead-tags": tags}
    ) as answer:
        data = await answer.read()
    if answer.status != 200:
        return answer.status, 0
    if not asked.get("stream"):
        return 200, json.loads(data)["usage"]["total_tokens"]
    lines = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]", lines[-1]
    return 200, next(u["total_tokens"] for x in lines[:-1] if (u := json.loads(x).get("usage")))


def _kept(home):
    """Return what the ledger says of the requests of clients that stayed."""
    from stead.app.database import open_database
    from stead.core.paths import Home
    from stead.store.spend import Spend

    database = open_database(Home(home))
    try:
        entries = [e for e in Spend(database).entries(most=10**9) if "stay" in e.tags]
    finally:
        database.close()
    good = [e for e in entries if e.outcome == "ok"]
    return {
        "ok": len(good),
        "failed": len(entries) - len(good),
        "tokens": sum(e.usage.prompt_tokens + e.usage.completion_tokens for e in good),
    }


def _slope(samples):
    """Return the least squares' slope of (seconds, MB) in MB an hour."""
    if len(samples) < 3:
        return 0.0
    n = len(samples)
    mean_t, mean_v = sum(t for t, _ in samples) / n, sum(v for _, v in samples) / n
    spread = sum((t - mean_t) ** 2 for t, _ in samples)
    return 3600 * sum((t - mean_t) * (v - mean_v) for t, v in samples) / spread


async def drain(work, streams):
    """GW9: a stop with open streams: all come to their end, new ones are refused; a short drain cuts with an event."""
    wrong, facts = [], {"streams": streams}
    async with mock_vendor(length=20, always=Fault(pause_s=0.05)) as vendor:
        ends, refused, seconds, status = await _stopped(vendor, work / "gentle", streams, 20.0)
        wrong += [f"ended with {e!r}" for e in ends if e != "[DONE]"]
        wrong += [f"while stopping: {refused}"] if refused != (503, "close") else []
        wrong += [f"status {status}"] if status != 0 else []
        facts["drained_s"] = round(seconds, 2)
        ends, _, seconds, status = await _stopped(vendor, work / "short", streams, 0.2)
        wrong += [f"cut without a word: {e!r}" for e in ends if e not in ("error", "[DONE]")]
        facts |= {"cut": ends.count("error"), "cut_s": round(seconds, 2)}
        wrong += ["nothing was cut"] if "error" not in ends else []
    return 2 * streams, wrong, facts


async def _stopped(vendor, work, streams, drain_s):
    """Open streams, stop the server; return their ends, what a new request got, and how long it took."""
    async with serving(vendor.url, work, drain_s=drain_s) as server, session() as client:
        begun = asyncio.Event()

        async def one():
            last = ""
            async with client.post(server.url + _CHAT, json=body(stream=True)) as answer:
                async for line in answer.content:
                    begun.set()
                    if line.startswith(b"data: "):
                        last = line[6:].decode().strip()
            return "error" if '"error"' in last else last

        open_ = [asyncio.create_task(one()) for _ in range(streams)]
        await begun.wait()
        while len(vendor.invoice) % streams:  # all have arrived  # noqa: ASYNC110 - a list that others fill
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        server.child.send_signal(signal.SIGTERM)
        at = time.monotonic()
        await asyncio.sleep(0.1)
        refused = None
        if drain_s > 1:
            async with client.post(server.url + _CHAT, json=body()) as answer:
                refused = answer.status, answer.headers.get("Connection", "").lower()
        ends = await asyncio.gather(*open_, return_exceptions=True)
        seconds = time.monotonic() - at
        status, _ = await server.stop()
        return [e if isinstance(e, str) else repr(e) for e in ends], refused, seconds, status


async def rolling(work, rounds):
    """GW9: two servers, one after the other stopped and started anew; whoever asks goes to the other and is answered."""
    failed, answered, urls = [], 0, {}
    done, over = asyncio.Event(), asyncio.Event()
    async with mock_vendor(length=10, always=Fault(pause_s=0.01)) as vendor:

        async def keep(name):
            for i in range(rounds):
                async with serving(vendor.url, work / f"{name}{i}") as server:
                    urls[name] = server.url
                    await asyncio.sleep(1.0)
                    while len(urls) < 2:  # noqa: ASYNC110 - as above
                        await asyncio.sleep(0.02)
                    if i < rounds - 1:
                        del urls[name]
                        await asyncio.sleep(0)
                        await server.stop()
                    else:
                        await over.wait()

        async def ask(client):
            nonlocal answered
            while not done.is_set():
                for url in [*urls.values()] * 2:
                    with suppress(aiohttp.ClientConnectionError):
                        status, _ = await _once(Server(url, None, None), client, body(stream=True))
                        if status != 503:
                            answered += status == 200
                            failed.extend([status] if status != 200 else [])
                            break
                await asyncio.sleep(0.01)

        async with session() as client:
            kept = [asyncio.create_task(keep(name)) for name in "ab"]
            while len(urls) < 2:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
            asking = [asyncio.create_task(ask(client)) for _ in range(4)]
            await asyncio.sleep(rounds * 4.0)
            done.set()
            await asyncio.gather(*asking)
            over.set()
            await asyncio.gather(*kept)
    return answered + len(failed), failed, {"rolling_answered": answered}


async def slow(work, connections, seconds):
    """GW10: half-open headers, bodies and readers; others are served as before, and memory stays bounded."""
    wrong, held = [], []
    async with (
        mock_vendor(length=2000) as vendor,
        serving(vendor.url, work) as server,
        session() as client,
        Stood() as stood,
    ):
        await _warm(server, client)

        async def healthy(until):
            times = []
            while time.monotonic() < until:
                begun, still = time.monotonic(), stood.seconds
                status, _ = await _once(server, client, body(max_tokens=6))
                wrong.extend([status] if status != 200 else [])
                times.append(time.monotonic() - begun - (stood.seconds - still))
                await asyncio.sleep(0.01)
            return times

        base = await healthy(time.monotonic() + seconds / 2)
        memory = server.held()[2]
        host, port = server.url.removeprefix("http://").split(":")
        begun = time.monotonic()
        for i in range(connections):
            reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
            writer.write(_HALVES[i % 3])
            held.append((i % 3, reader, writer))
        loaded = await healthy(begun + seconds)
        growth = server.held()[2] - memory
        closed = await _closed(held, begun + seconds) if seconds > 35 else {}
        for *_, writer in held:
            writer.close()
    worst = 2 * share(base, 0.99) + 0.005
    wrong += [f"p99 {share(loaded, 0.99):.4f} s"] if share(loaded, 0.99) > worst else []
    wrong += [f"{growth:.0f} MB more"] if growth > 10 + connections * 0.05 else []
    wrong += [f"{kind}: {n} open" for kind, n in closed.items() if n]
    facts = {
        "connections": connections, "base_p99_s": round(share(base, 0.99), 4),
        "p99_s": round(share(loaded, 0.99), 4), "rss_growth_mb": round(growth, 1),
        "open_after_the_limits": closed, "seconds_of_load": seconds,
    }  # fmt: skip
    return connections, wrong, facts


async def _closed(held, since):
    """Count the connections that the server has not ended: of those with half a head, and with half a body."""
    still = {"head": 0, "body": 0}
    for kind, reader, _ in held:
        if kind < 2:
            try:
                async with asyncio.timeout(0.2):
                    while await reader.read(4096):
                        pass
            except TimeoutError:
                still["head" if kind == 0 else "body"] += 1
            except ConnectionError:
                pass
    return still


def _half(asked, cut):
    data = json.dumps(asked).encode()
    head = (
        f"POST {_CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    ).encode()
    return {"head": head[:40], "body": head + data[:20], "whole": head + data}[cut]


_HALVES = (
    _half(body(), "head"),
    _half(body(), "body"),
    _half(body(stream=True), "whole"),  # and never reads the answer
)
