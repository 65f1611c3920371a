"""DPO speed and memory beside TRL, in alternating runs: the same model, pairs and hyper-parameters.

    PEER_PYTHON=/path/to/peer/bin/python python bench/dpo.py [MODEL] [--pairs 3] [--rows 64]

Each side runs in a fresh process. Our seconds are the whole of `fit`: the reference table, the steps
and writing the result; the peer's are its `train()`, which asks the reference live. Both leave out
pairs whose prompt fills the length, so the same rows are learnt. One JSON line per comparison is
appended to bench/results/dpo.jsonl. Without the peer it measures our side alone and says so.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sft import HERE, PEER, median, once, reference_model, settings

PEER_DPO = PEER.with_name("peer_trl_dpo.py")
MAX_LENGTH = 1024  # the peer's


def ours(a: argparse.Namespace) -> None:
    """Train once in this process; print one JSON line."""
    import torch

    from stead.config.run import DataSection
    from stead.core.events import AnyEvent, Finished
    from stead.data.prepare import prepare
    from stead.models.load import load_model
    from stead.training.fit import fit

    work = Path(tempfile.mkdtemp(prefix="stead-bench-"))
    section = DataSection(path=a.data, limit=a.rows, eval_share=0, max_length=MAX_LENGTH, dedupe=False)  # fmt: skip
    prepared = prepare(section, Path(a.model), work / "data", kind_wanted="preference",
                       max_length=MAX_LENGTH, emit=lambda _: None)  # fmt: skip
    loaded = load_model(Path(a.model), dtype=a.dtype, device="cpu")
    reference = {"seconds": 0.0}

    def watch(event: AnyEvent) -> None:
        if isinstance(event, Finished) and event.stage == "reference":
            reference.update(event.result)

    start = time.perf_counter()
    result = fit(
        trainer=settings(a.batch), method_name="dpo", method_config={"beta": 0.1},
        adapter_name=a.adapter, adapter_config={"dropout": 0.0} if a.adapter == "lora" else {},
        prepared=prepared, loaded=loaded, run_dir=work / "run", emit=watch,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    kept = ("tokens", "mean_loss", "final_loss", "peak_rss_mib")
    line = {k: result[k] for k in kept} | {
        "pairs": prepared.splits["train"],
        "seconds": round(seconds, 2),
        "pairs_per_s": round(prepared.splits["train"] / seconds, 3),
        "tokens_per_s": round(result["tokens"] / seconds, 1),
        "reference_s": reference["seconds"],
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(line))


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("model", nargs="?", help="default: the reference model, made once in .cache")
    p.add_argument("--data", default=str(PEER.parent.parent / "data" / "dpo_en_demo.json"))
    p.add_argument("--rows", type=int, default=64)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--pairs", type=int, default=3, help="how often each side runs")
    p.add_argument("--dtype", default="bf16", choices=("bf16", "fp32"))
    p.add_argument("--adapter", default="lora", choices=("lora", "full"))
    p.add_argument("--peer", type=Path, default=PEER_DPO, help="peer_trl_dpo.py")
    p.add_argument("--child", action="store_true")
    a = p.parse_args()
    if a.model is None:
        a.model = str(reference_model())
    if a.child:
        ours(a)
        return
    peer = os.environ.get("PEER_PYTHON", "")
    there = bool(peer) and a.peer.exists() and a.adapter == "lora" and a.dtype == "bf16"
    common = ["--rows", str(a.rows), "--batch", str(a.batch), "--data", a.data]
    us = [sys.executable, __file__, a.model, "--child", *common, "--dtype", a.dtype, "--adapter", a.adapter]  # fmt: skip
    them = [peer, str(a.peer), a.model, *common]
    runs: dict[str, list[dict[str, Any]]] = {"stead": [], "trl": []}
    for i in range(a.pairs):
        order = [("stead", us), ("trl", them)]
        for name, argv in order if i % 2 == 0 else order[::-1]:
            if name == "stead" or there:
                runs[name].append(once(argv))
                print(name, runs[name][-1], file=sys.stderr)
    line = {
        "bench": "dpo", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "n": a.pairs,
        "rows": a.rows, "dtype": a.dtype, "adapter": a.adapter, "load": os.getloadavg()[0],
        "settings": settings(a.batch).model_dump(mode="json"), "stead": _medians(runs["stead"]),
    }  # fmt: skip
    if there:
        line["trl"] = _medians(runs["trl"])
        # The peer counts the rows it was given, also those it leaves out: seconds are comparable.
        line["speed_ratio"] = line["trl"]["seconds"] / line["stead"]["seconds"]
        line["memory_ratio"] = line["stead"]["peak_rss_mib"] / line["trl"]["peak_rss_mib"]
    else:
        line["not_run"] = (
            "the peer: set PEER_PYTHON, keep ../shared/bench or give --peer, use lora in bf16"
        )
    out = HERE / "results" / "dpo.jsonl"
    out.parent.mkdir(exist_ok=True)
    with open(out, "a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    found = median([r | {"tokens_per_s": r.get("tokens_per_s", 0.0)} for r in runs])
    del found["all_tokens_per_s"]
    return found | {"all_seconds": [r["seconds"] for r in runs]}


if __name__ == "__main__":
    main()
