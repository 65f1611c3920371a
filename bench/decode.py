"""Greedy tokens per second of local models, in alternating fresh processes: ours, transformers, llama.cpp.

    python bench/decode.py [MODEL] [--tokens 128] [--pairs 3] [--rows 1 8] [--dtype fp32] [--text plain copy]

`stead` is the backend of the transformers engine as it is served, `stead_one_by_one` the same without
guessed tokens, `transformers` its own `generate`, `transformers_lookup` that with its prompt lookup (one
row only), `llama_cpp` the embedded engine on the same weights as GGUF (f32 or bf16 alike; it guesses
nothing). `--rows` are answers asked for at once; transformers gets them as one padded batch, which favors
it: all prompts have one length.

What is written decides what guesses bring. The reference model has random weights and soon repeats itself:
its share of right guesses is near the highest there is, not what a text of worth gives. Each line therefore
has the speed without guesses, the share that was right, and whether both sides wrote the same ids (`same`).
`--text copy` asks for a copy of a row of GSM8K; a trained model would repeat it. One JSON line per
`--rows` and `--text` is appended to bench/results/decode.jsonl. Default model: the 41M reference model.
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

from pairs import SHARED, append, machine, once, reference_model

SIDES = ("stead", "stead_one_by_one", "transformers", "transformers_lookup", "llama_cpp")
PROMPT = 32  # tokens
LOOKUP = 10  # tokens guessed at once by transformers: the number in its documentation
Written = tuple[int, list[tuple[int, ...]], dict[str, int]]  # tokens, ids by row if known, facts
Work = Callable[[], Written]


def prompts(a: argparse.Namespace) -> list[tuple[int, ...]]:
    """Return a prompt of its own for each row, so that none is shared; all of one length."""
    rows = range(a.rows[0])
    if a.text == ["plain"]:
        return [tuple(1000 + 37 * row + 11 * i for i in range(PROMPT)) for row in rows]
    from stead.data.tokenizer import TextTokenizer

    lines = (SHARED / "data" / "gsm8k_test.jsonl").read_text().splitlines()
    tokenizer = TextTokenizer.open(Path(a.model))
    texts = [json.loads(line) for line in lines[: len(rows)]]
    made = [
        tokenizer.encode(f"Copy this text.\n{t['question']} {t['answer']}\nThe copy:\n").ids
        for t in texts
    ]
    shortest = min(map(len, made))
    return [tuple(ids[-shortest:]) for ids in made]


def stead_one_by_one(a: argparse.Namespace) -> Work:
    """Return what writes all rows once, without guesses."""
    return stead(a, speculate=False)


def stead(a: argparse.Namespace, *, speculate: bool = True) -> Work:
    """Return what writes all rows once."""
    from stead.messages import GenerateRequest, Sampling
    from stead.models.load import load_model
    from stead.models.writing.local import LocalBackend
    from stead.models.writing.served import Serving

    loaded = load_model(Path(a.model), dtype=a.dtype, device="cpu")
    backend = LocalBackend.of(loaded, name="m", serving=Serving(speculate=speculate))
    backend._tokenizer.__dict__["stop_ids"] = ()  # all sides write on to the limit
    sampling = Sampling(temperature=0, max_tokens=a.tokens, logprobs=0 if a.check else None)
    asked = [GenerateRequest(model="m", prompt=p, sampling=sampling) for p in prompts(a)]

    async def work() -> Written:
        replies = await asyncio.gather(*(backend.generate(r) for r in asked))
        ids = [tuple(p.id for p in r.choices[0].logprobs if p.id is not None) for r in replies]
        guesses = backend.guesses
        facts = {"drafted": guesses.drafted, "accepted": guesses.accepted}
        return sum(r.usage.completion_tokens for r in replies), ids, facts

    return lambda: asyncio.run(work())


def transformers_lookup(a: argparse.Namespace) -> Work:
    """Return what writes the row once with transformers' prompt lookup."""
    return transformers(a, prompt_lookup_num_tokens=LOOKUP)


def transformers(a: argparse.Namespace, **options: int) -> Work:
    """Return what writes all rows once."""
    import torch
    from transformers import AutoModelForCausalLM

    number = {"fp32": torch.float32, "bf16": torch.bfloat16}[a.dtype]
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=number).eval()
    ids = torch.tensor(prompts(a))

    def work() -> Written:
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0,
            max_new_tokens=a.tokens, min_new_tokens=a.tokens, eos_token_id=None, **options,
        )  # fmt: skip
        new = out[:, ids.shape[1] :]
        return int(new.numel()), [tuple(row) for row in new.tolist()], {}

    return work


def llama_cpp(a: argparse.Namespace) -> Work:
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
    endpoint = engine.start(Order(model=str(folder / "m.gguf"), name="m", parallel=a.rows[0]), folder / "e")  # fmt: skip
    sampling = Sampling(temperature=0, max_tokens=a.tokens)
    more = {"ignore_eos": True, "cache_prompt": False}

    asked = [
        GenerateRequest(model="m", prompt=p, sampling=sampling, extra=more) for p in prompts(a)
    ]

    async def work() -> Written:
        backend = Remote(endpoint.url, token=endpoint.token, http=Http(keepalive_s=0))
        replies = await asyncio.gather(*(backend.generate(r) for r in asked))
        await backend.close()
        return sum(r.usage.completion_tokens for r in replies), [], {}

    return lambda: asyncio.run(work())


def child(a: argparse.Namespace) -> None:
    """Measure one side; print one JSON line."""
    import torch

    work = globals()[a.child](a)
    tokens, ids, facts = work()
    found = []
    for _ in range(0 if a.check else 3):
        began = time.perf_counter()
        tokens, _, facts = work()
        found.append(tokens / (time.perf_counter() - began))
    line = {
        "tokens_per_s": statistics.median(found or [0.0]),
        "tokens": tokens,
        "ids": ids,
        **facts,
    }
    print(json.dumps(line | {"threads": torch.get_num_threads()}))
    sys.stdout.flush()
    os._exit(0)  # the engine is tied to this process and ends with it


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model", nargs="?", help="default: the reference model, made once in .cache")
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--pairs", type=int, default=3)
    p.add_argument("--rows", type=int, nargs="+", default=[1, 8])
    p.add_argument("--dtype", default="fp32", choices=("fp32", "bf16"))
    p.add_argument("--text", nargs="+", default=["plain", "copy"], choices=("plain", "copy"))
    p.add_argument("--child", choices=SIDES)
    p.add_argument("--check", action="store_true", help="(of a child) write once and tell the ids")
    a = p.parse_args()
    a.model = reference_model() if a.model is None else a.model
    if a.child:
        child(a)
        return
    for rows in a.rows:
        for text in a.text:
            measure(a, rows, text)


def measure(a: argparse.Namespace, rows: int, text: str) -> None:
    """Run every side in turn, then once more for what they write; append a line."""
    sides = [s for s in SIDES if rows == 1 or s != "transformers_lookup"]
    base = ["--rows", str(rows), "--text", text, "--tokens", str(a.tokens), "--dtype", a.dtype]

    def run(side: str, *more: str) -> dict[str, Any]:
        return once([sys.executable, __file__, a.model, "--child", side, *base, *more])

    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for i in range(a.pairs):
        for side in sides if i % 2 == 0 else sides[::-1]:
            runs[side].append(run(side))
            print(rows, text, side, round(runs[side][-1]["tokens_per_s"], 1), file=sys.stderr)
    ids = {side: run(side, "--check")["ids"] for side in sides if side != "llama_cpp"}
    all_s = {side: [r["tokens_per_s"] for r in found] for side, found in runs.items()}
    middle = {side: statistics.median(found) for side, found in all_s.items()}
    last = runs["stead"][-1]
    line: dict[str, Any] = {
        "bench": "decode", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "n": a.pairs,
        "machine": machine(), "load": os.getloadavg()[0], "threads": last["threads"], "rows": rows,
        "text": text, "tokens": a.tokens, "dtype": a.dtype, "tokens_per_s": middle, "all": all_s,
        "guessed": last["drafted"], "right": last["accepted"],
        "same": {side: ids[side] == ids["stead_one_by_one"] for side in ids},
        "to_transformers": middle["stead"] / middle["transformers"],
        "one_by_one_to_transformers": middle["stead_one_by_one"] / middle["transformers"],
        "to_llama_cpp": middle["stead"] / middle["llama_cpp"],
    }  # fmt: skip
    if "transformers_lookup" in middle:
        line["to_transformers_lookup"] = middle["stead"] / middle["transformers_lookup"]
    append("decode", line)


if __name__ == "__main__":
    main()
