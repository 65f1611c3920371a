"""GRPO speed and memory beside TRL, in alternating runs: the same model, prompts, rewards, settings.

    PEER_PYTHON=/path/to/peer/bin/python python bench/grpo.py MODEL GSM8K.jsonl [--pairs 3]

Each side runs in a fresh process: one optimizer step per prompt, 8 answers each, the distance to the
starting model counted (beta 0.04), as the peer's script does. `--together N` writes the answers of N
steps at once (steps_per_generation), which TRL can do too but does not by default. One JSON line per
comparison is appended to bench/results/grpo.jsonl. Without the peer it measures our side alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEER = HERE.parent.parent / "shared" / "bench" / "peer_trl_grpo.py"


def digits(completions: list[str]) -> list[float]:
    """Return the share of digits: the peer's reward, cheap and never constant on random text."""
    return [sum(c.isdigit() for c in t) / max(1, len(t)) for t in completions]


def ours(a: argparse.Namespace) -> None:
    """Train once in this process; print one JSON line."""
    import torch
    from sft import Settings

    from stead.config.run import DataSection
    from stead.data.prepare import prepare
    from stead.models.load import load_model
    from stead.training.fit import fit

    work = Path(tempfile.mkdtemp(prefix="stead-bench-"))
    section = DataSection(path=a.data, limit=a.prompts, eval_share=0, max_length=512, dedupe=False)
    prepared = prepare(section, Path(a.model), work / "data", kind_wanted="messages",
                       max_length=512, emit=lambda _: None)  # fmt: skip
    method = {
        "rewards": [{"function": f"{__file__}:digits"}], "num_generations": a.group,
        "max_completion_length": a.new_tokens, "beta": 0.04, "steps_per_generation": a.together,
    }  # fmt: skip
    began = time.perf_counter()
    result = fit(
        trainer=Settings(batch_rows=a.together, lr=1e-4, shuffle=False), method_name="grpo",
        method_config=method, adapter_name="lora", adapter_config={"r": 8, "alpha": 32, "dropout": 0.0},
        prepared=prepared, loaded=load_model(Path(a.model), dtype=a.dtype, device="cpu"),
        run_dir=work / "run",
    )  # fmt: skip
    seconds = time.perf_counter() - began
    lines = [json.loads(x) for x in (work / "run" / "metrics.jsonl").read_text().splitlines()]
    done = a.prompts * a.group
    print(json.dumps({
        "completions": done, "seconds": seconds, "completions_per_s": done / seconds,
        "loss": result["mean_loss"], "peak_rss_mib": result["peak_rss_mib"], "steps": len(lines),
        "mean_length": statistics.mean(x["completion_length"] for x in lines),
        "sampler_gap": statistics.mean(x["sampler_gap"] for x in lines),
        "threads": torch.get_num_threads(),
    }))  # fmt: skip


def once(argv: list[str]) -> dict[str, Any]:
    """Run a child and parse its last line."""
    env = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "HF_HUB_OFFLINE": "1"}
    found = subprocess.run(argv, check=True, capture_output=True, text=True, env=env)
    parsed: dict[str, Any] = json.loads(found.stdout.strip().splitlines()[-1])
    return parsed


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("model", nargs="?", help="default: the reference model, made once in .cache")
    p.add_argument(
        "data", nargs="?", default=str(PEER.parent.parent / "data" / "gsm8k_train.jsonl")
    )
    p.add_argument("--prompts", type=int, default=16)
    p.add_argument("--group", type=int, default=8)
    p.add_argument("--new-tokens", type=int, default=64)
    p.add_argument("--together", type=int, default=1, help="optimizer steps per generation")
    p.add_argument("--pairs", type=int, default=3)
    p.add_argument("--dtype", default="bf16", choices=("bf16", "fp32"))
    p.add_argument("--peer", type=Path, default=PEER, help="peer_trl_grpo.py")
    p.add_argument("--child", action="store_true")
    a = p.parse_args()
    if a.model is None:
        from sft import reference_model

        a.model = str(reference_model())
    if a.child:
        ours(a)
        return
    peer = os.environ.get("PEER_PYTHON", "")
    there = bool(peer) and a.peer.exists() and a.dtype == "bf16"
    size = ["--prompts", str(a.prompts), "--group", str(a.group), "--new-tokens", str(a.new_tokens)]
    us = [sys.executable, __file__, a.model, a.data, "--child", *size, "--dtype", a.dtype,
          "--together", str(a.together)]  # fmt: skip
    them = [peer, str(a.peer), a.model, "--data", a.data, *size]
    runs: dict[str, list[dict[str, Any]]] = {"stead": [], "trl": []}
    for i in range(a.pairs):
        order = [("stead", us), ("trl", them)]
        for name, argv in order if i % 2 == 0 else order[::-1]:
            if name == "stead" or there:
                runs[name].append(once(argv))
                print(name, runs[name][-1], file=sys.stderr)
    line = {
        "bench": "grpo", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "n": a.pairs,
        "prompts": a.prompts, "group": a.group, "new_tokens": a.new_tokens, "dtype": a.dtype,
        "together": a.together, "load": os.getloadavg()[0], "stead": _median(runs["stead"]),
    }  # fmt: skip
    if there:
        line["trl"] = _median(runs["trl"])
        line["speed_ratio"] = line["stead"]["completions_per_s"] / line["trl"]["completions_per_s"]
        line["memory_ratio"] = line["stead"]["peak_rss_mib"] / line["trl"]["peak_rss_mib"]
    else:
        line["not_run"] = "the peer: set PEER_PYTHON, keep ../shared/bench or give --peer, use bf16"
    out = HERE / "results" / "grpo.jsonl"
    out.parent.mkdir(exist_ok=True)
    with open(out, "a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    keys = [k for k in runs[0] if isinstance(runs[0][k], int | float)]
    found: dict[str, Any] = {k: statistics.median(r[k] for r in runs) for k in keys}
    return found | {"all_completions_per_s": [r["completions_per_s"] for r in runs]}


if __name__ == "__main__":
    main()
