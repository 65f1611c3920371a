"""GRPO speed and memory beside TRL, in alternating runs: the same model, prompts, rewards, settings.

    PEER_PYTHON=/path/to/peer/bin/python python bench/grpo.py [MODEL [GSM8K.jsonl]] [--together 16]

Each side runs in a fresh process: one optimizer step per prompt, 8 answers each, the distance to the
starting model counted (beta 0.04), as the peer's script does. `--together N` writes the answers of N
steps at once (steps_per_generation); TRL can do that too, but not by default. One JSON line per
comparison is appended to bench/results/grpo.jsonl. Without the peer it measures our side alone.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from pairs import compare, parser, prepared, reference_model

SETTINGS = {
    "epochs": 1.0, "batch_tokens": None, "lr": 1e-4, "schedule": "constant", "warmup": 0.0,
    "weight_decay": 0.0, "checkpoint_every": 1_000_000, "proofs": False, "trackers": (),
}  # fmt: skip


def digits(completions: list[str]) -> list[float]:
    """Return the share of digits: the peer's reward, cheap and never constant on random text."""
    return [sum(c.isdigit() for c in t) / max(1, len(t)) for t in completions]


def ours(a: argparse.Namespace) -> None:
    """Train once in this process; print one JSON line."""
    import torch

    from stead.config.run import TrainerSection
    from stead.models.load import load_model
    from stead.training.fit import fit

    work, data = prepared(a, "messages", 512)
    method = {
        "rewards": [{"function": f"{__file__}:digits"}], "num_generations": a.group,
        "max_completion_length": a.new_tokens, "beta": 0.04, "steps_per_generation": a.together,
    }  # fmt: skip
    loaded = load_model(Path(a.model), dtype=a.dtype, device="cpu")
    began = time.perf_counter()
    result = fit(
        trainer=TrainerSection(batch_rows=a.together, **SETTINGS), method_name="grpo",
        method_config=method, adapter_name="lora",
        adapter_config={"r": 8, "alpha": 32, "dropout": 0.0}, prepared=data, loaded=loaded,
        run_dir=work / "run",
    )  # fmt: skip
    seconds = time.perf_counter() - began
    lines = [json.loads(x) for x in (work / "run" / "metrics.jsonl").read_text().splitlines()]
    done = a.rows * a.group
    print(json.dumps({
        "completions": done, "seconds": seconds, "completions_per_s": done / seconds,
        "loss": result["mean_loss"], "peak_rss_mib": result["peak_rss_mib"], "steps": len(lines),
        "mean_length": statistics.mean(x["completion_length"] for x in lines),
        "sampler_gap": statistics.mean(x["sampler_gap"] for x in lines),
        "update_s": result["seconds"], "threads": torch.get_num_threads(),
    }))  # fmt: skip


def main() -> None:
    p = parser(str(__doc__), "gsm8k_train.jsonl", "peer_trl_grpo.py", 16)
    p.add_argument("--group", type=int, default=8)
    p.add_argument("--new-tokens", type=int, default=64)
    p.add_argument("--together", type=int, default=1, help="optimizer steps per generation")
    p.add_argument("--dtype", default="bf16", choices=("bf16", "fp32"))
    a = p.parse_args()
    a.model = reference_model() if a.model is None else a.model
    if a.child:
        ours(a)
        return
    size = ["--group", str(a.group), "--new-tokens", str(a.new_tokens)]
    us = [__file__, a.model, a.data, "--child", "--rows", str(a.rows), *size,
          "--dtype", a.dtype, "--together", str(a.together)]  # fmt: skip
    them = [str(a.peer), a.model, "--data", a.data, "--prompts", str(a.rows), *size]
    facts = {"prompts": a.rows, "group": a.group, "new_tokens": a.new_tokens, "dtype": a.dtype,
             "together": a.together, "settings": SETTINGS}  # fmt: skip
    compare("grpo", us, them if a.dtype == "bf16" else None, pairs=a.pairs,
            speed="completions_per_s", facts=facts)  # fmt: skip


if __name__ == "__main__":
    main()
