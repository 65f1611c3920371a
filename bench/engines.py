"""Tokens per second of embedded llama.cpp through the gateway against its own server, in one run.

    python bench/engines.py [MODEL] [--tokens 128] [--rounds 5] [--streams 1 4] [--quant f32]

Both sides load the same GGUF, made here from the model folder, by the same engine program with the same
options: `own` is asked directly (xllamacpp's own HTTP server), `stead` through `stead serve` with a key,
the limits and the ledger on. Both stay loaded and are asked in turn, so one is idle while the other is
measured. Streams are read by one client; a figure is the tokens of all streams by the time until the last
has ended, prompt included. One JSON line is appended to bench/results/engines.jsonl: medians, and the ratio
of the medians (bar: 0.95). Default model: the 41M reference model, random weights.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gateway import free_port, program
from pairs import HERE, append, machine, reference_model

KEY = "sk-bench-0f1e2d3c4b5a69788796a5b4c3d2e1f0"
WORDS = ("river", "stone", "winter", "paper", "green", "seven", "market", "light")


def prompt(turn: int, stream: int) -> str:
    """Return a prompt of its own for each stream of each round: none is in anybody's cache."""
    numbers = [turn * 31 + stream * 7 + i * i for i in range(32)]
    return f"{turn} {stream} " + " ".join(WORDS[n % len(WORDS)] for n in numbers)


async def streamed(
    side: tuple[str, str], a: argparse.Namespace, turn: int, streams: int
) -> dict[str, float]:
    """Read some streams at once; return tokens, chunks and seconds."""
    from stead.core.http import Http
    from stead.inference.remote import Remote
    from stead.messages import GenerateRequest, Sampling

    url, key = side
    backend = Remote(url, token=key, http=Http(keepalive_s=0))
    bias = {str(a.end): -100.0}  # all write on to the limit
    sampling = Sampling(temperature=0, max_tokens=a.tokens, logit_bias=bias)

    async def one(stream: int) -> tuple[int, int]:
        text = prompt(turn, stream)
        request = GenerateRequest(model="m", prompt=text, sampling=sampling)
        written = chunks = 0
        async for chunk in backend.stream(request):
            chunks += bool(chunk.text)
            written = written if chunk.usage is None else chunk.usage.completion_tokens
        return written, chunks

    began = time.perf_counter()
    found = await asyncio.gather(*(one(i) for i in range(streams)))
    spent = time.perf_counter() - began
    await backend.close()
    return {"tokens": sum(t for t, _ in found), "chunks": sum(c for _, c in found), "s": spent}


def start(stack: ExitStack, a: argparse.Namespace, work: Path) -> dict[str, tuple[str, str]]:
    """Start both sides; return their addresses and keys."""
    from stead.engines.engine import ENGINES, Order
    from stead.exporting.formats.gguf import GGUF
    from stead.exporting.source import Source

    file = work / "m.gguf"
    GGUF().export(Source.open(Path(a.model)), file, quant=a.quant)
    engine = ENGINES.create("llama_cpp")
    most = max(a.streams)
    own = engine.start(Order(model=str(file), name="m", parallel=most), work / "engine")
    stack.callback(engine.stop)
    port = free_port()
    env = {"STEAD_HOME": str(work / "home"), "PYTHONPATH": str(HERE.parent / "src")}
    env["STEAD_API_KEY"] = KEY
    argv = [
        sys.executable, "-m", "stead", "serve", "--model", str(file), "--name", "m", "--engine", "llama_cpp",
        "--parallel", str(most), "--port", str(port), "--no-platform", "--quiet",
    ]  # fmt: skip
    stack.enter_context(program(argv, port, env))
    return {"own": (own.url, own.token or ""), "stead": (f"http://127.0.0.1:{port}", KEY)}


def measure(sides: dict[str, tuple[str, str]], a: argparse.Namespace, streams: int) -> None:
    """Ask both sides in turn and append a line."""
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for turn in range(-1, a.rounds):  # the first is not counted
        for side in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            found = asyncio.run(streamed(sides[side], a, turn, streams))
            print(streams, side, {k: round(v, 2) for k, v in found.items()}, file=sys.stderr)
            if turn >= 0:
                runs[side].append(found)
    speeds = {side: [r["tokens"] / r["s"] for r in found] for side, found in runs.items()}
    middle = {side: statistics.median(found) for side, found in speeds.items()}
    line: dict[str, Any] = {
        "bench": "engines", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "n": a.rounds, "machine": machine(), "load": os.getloadavg()[0], "streams": streams,
        "tokens": a.tokens, "quant": a.quant, "tokens_per_s": middle, "all": speeds,
        "tokens_seen": {side: sum(r["tokens"] for r in found) for side, found in runs.items()},
        "chunks_seen": {side: sum(r["chunks"] for r in found) for side, found in runs.items()},
        "ratio": middle["stead"] / middle["own"],
    }  # fmt: skip
    append("engines", line)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model", nargs="?", help="default: the reference model, made once in .cache")
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--streams", type=int, nargs="+", default=[1, 4])
    p.add_argument("--quant", default="f32", help="as `stead export --quant`")
    a = p.parse_args()
    a.model = reference_model() if a.model is None else a.model
    a.end = json.loads((Path(a.model) / "config.json").read_text())["eos_token_id"]
    work = Path(tempfile.mkdtemp(prefix="stead-bench-"))
    with ExitStack() as stack:
        sides = start(stack, a, work)
        for streams in a.streams:
            measure(sides, a, streams)


if __name__ == "__main__":
    main()
