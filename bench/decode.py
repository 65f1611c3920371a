"""Greedy tokens per second of local models, in alternating fresh processes: ours, transformers, llama.cpp.

    python bench/decode.py [MODEL] [--tokens 128] [--pairs 3] [--rows 1 8] [--dtype fp32]

`stead` is the backend of the transformers engine, `transformers` its own `generate`, `llama_cpp` the
embedded engine on the same weights as GGUF (f32 or bf16 alike). `--rows` are answers asked for at once;
transformers gets them as one padded batch, which favors it: all prompts have one length. One JSON line is
appended to bench/results/decode.jsonl. The model's default is the 41M reference model.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pairs import HERE, machine, once, reference_model

SIDES = ("stead", "transformers", "llama_cpp")
PROMPT = 32  # tokens


def prompt(row: int) -> tuple[int, ...]:
    """Return a prompt of its own for each row, so that none is shared."""
    return tuple(1000 + 37 * row + 11 * i for i in range(PROMPT))


def stead(a: argparse.Namespace, rows: int) -> Callable[[], int]:
    """Return what writes all rows once and counts the tokens."""
    from stead.messages import GenerateRequest, Sampling
    from stead.models.load import load_model
    from stead.models.local import LocalBackend

    backend = LocalBackend.of(load_model(Path(a.model), dtype=a.dtype, device="cpu"), name="m")
    backend._tokenizer.__dict__["stop_ids"] = ()  # all sides write on to the limit
    sampling = Sampling(temperature=0, max_tokens=a.tokens)

    async def work() -> int:
        asked = [
            GenerateRequest(model="m", prompt=prompt(r), sampling=sampling) for r in range(rows)
        ]
        replies = await asyncio.gather(*(backend.generate(r) for r in asked))
        return sum(r.usage.completion_tokens for r in replies)

    return lambda: asyncio.run(work())


def transformers(a: argparse.Namespace, rows: int) -> Callable[[], int]:
    """Return what writes all rows once and counts the tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    number = {"fp32": torch.float32, "bf16": torch.bfloat16}[a.dtype]
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=number).eval()
    ids = torch.tensor([prompt(r) for r in range(rows)])

    def work() -> int:
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0,
            max_new_tokens=a.tokens, min_new_tokens=a.tokens, eos_token_id=None,
        )  # fmt: skip
        return int(out.numel() - ids.numel())

    return work


def llama_cpp(a: argparse.Namespace, rows: int) -> Callable[[], int]:
    """Return what writes all rows once through the embedded engine's own server."""
    from stead.core.http import Http
    from stead.engines.engine import ENGINES, Order
    from stead.exporting.formats.gguf import GGUF
    from stead.exporting.source import Source
    from stead.inference.remote import Remote
    from stead.messages import GenerateRequest, Sampling

    folder = Path(tempfile.mkdtemp(prefix="stead-bench-"))
    GGUF().export(Source.open(Path(a.model)), folder / "m.gguf", quant={"fp32": "f32"}.get(a.dtype, a.dtype))  # fmt: skip
    engine = ENGINES.create("llama_cpp")
    endpoint = engine.start(Order(model=str(folder / "m.gguf"), name="m", parallel=rows), folder / "e")  # fmt: skip
    sampling = Sampling(temperature=0, max_tokens=a.tokens)
    more = {"ignore_eos": True, "cache_prompt": False}

    async def work() -> int:
        backend = Remote(endpoint.url, token=endpoint.token, http=Http(keepalive_s=0))
        asked = [
            GenerateRequest(model="m", prompt=prompt(r), sampling=sampling, extra=more)
            for r in range(rows)
        ]
        replies = await asyncio.gather(*(backend.generate(r) for r in asked))
        await backend.close()
        return sum(r.usage.completion_tokens for r in replies)

    return lambda: asyncio.run(work())


def child(a: argparse.Namespace) -> None:
    """Measure one side; print one JSON line."""
    import torch

    work = globals()[a.child](a, a.rows[0])
    work()
    found = []
    for _ in range(3):
        began = time.perf_counter()
        tokens = work()
        found.append(tokens / (time.perf_counter() - began))
    speed = statistics.median(found)
    print(json.dumps({"tokens_per_s": speed, "tokens": tokens, "threads": torch.get_num_threads()}))
    sys.stdout.flush()
    os._exit(0)  # the engine is tied to this process and ends with it


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model", nargs="?", help="default: the reference model, made once in .cache")
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--pairs", type=int, default=3)
    p.add_argument("--rows", type=int, nargs="+", default=[1, 8])
    p.add_argument("--dtype", default="fp32", choices=("fp32", "bf16"))
    p.add_argument("--child", choices=SIDES)
    a = p.parse_args()
    a.model = reference_model() if a.model is None else a.model
    if a.child:
        child(a)
        return
    for rows in a.rows:
        runs: dict[str, list[float]] = {side: [] for side in SIDES}
        for i in range(a.pairs):
            for side in SIDES if i % 2 == 0 else SIDES[::-1]:
                argv = [sys.executable, __file__, a.model, "--child", side, "--rows", str(rows)]
                argv += ["--tokens", str(a.tokens), "--dtype", a.dtype]
                runs[side].append(once(argv)["tokens_per_s"])
                print(rows, side, round(runs[side][-1], 1), file=sys.stderr)
        write(a, rows, runs)


def write(a: argparse.Namespace, rows: int, runs: dict[str, list[float]]) -> None:
    """Append one line of medians and ratios to the results."""
    middle = {side: statistics.median(found) for side, found in runs.items()}
    line: dict[str, Any] = {
        "bench": "decode", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "n": a.pairs,
        "machine": machine(), "load": os.getloadavg()[0], "rows": rows, "tokens": a.tokens,
        "dtype": a.dtype, "tokens_per_s": middle, "all": runs,
        "to_transformers": middle["stead"] / middle["transformers"],
        "to_llama_cpp": middle["stead"] / middle["llama_cpp"],
    }  # fmt: skip
    out = HERE / "results" / "decode.jsonl"
    out.parent.mkdir(exist_ok=True)
    with open(out, "a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
