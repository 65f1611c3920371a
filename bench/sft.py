"""SFT speed and memory beside TRL, in alternating runs: the same model, rows and hyper-parameters.

    PEER_PYTHON=/path/to/peer/bin/python python bench/sft.py MODEL GSM8K.jsonl [--pairs 3] [--dtype bf16]

Each side runs in a fresh process. One JSON line per comparison is appended to
bench/results/sft.jsonl. Without the peer it measures our side alone and says so.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEER = HERE.parent.parent / "shared" / "bench" / "peer_trl_sft.py"


@dataclass(frozen=True)
class Settings:
    """What the peer's script does: one epoch of batches of 8, constant rate, no decay."""

    type: str = "native"
    epochs: float = 1.0
    max_steps: int | None = None
    batch_tokens: Any = "auto"
    batch_rows: int | None = 8
    accumulation: int = 1
    lr: Any = 2e-4
    schedule: str = "constant"
    warmup: float = 0.0
    weight_decay: float = 0.0
    clip: float = 1.0
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    seed: int = 42
    shuffle: bool = True
    gradient_checkpointing: bool = False
    checkpoint_every: Any = 1_000_000
    keep: int = 3
    log_every: int = 1
    eval_every: int | None = None
    logits_chunk: Any = "auto"


def ours(a: argparse.Namespace) -> None:
    """Train once in this process; print one JSON line."""
    import torch

    from stead.config.run import DataSection
    from stead.data.prepare import prepare
    from stead.models.load import load_model
    from stead.training.fit import fit

    work = Path(tempfile.mkdtemp(prefix="stead-bench-"))
    section = DataSection(path=a.data, limit=a.rows, eval_share=0, max_length=512, dedupe=False)
    prepared = prepare(section, Path(a.model), work / "data", kind_wanted="messages",
                       max_length=512, emit=lambda _: None)  # fmt: skip
    result = fit(
        trainer=Settings(), method_name="sft", method_config={}, adapter_name=a.adapter,
        adapter_config={"dropout": 0.0} if a.adapter == "lora" else {}, prepared=prepared,
        loaded=load_model(Path(a.model), dtype=a.dtype, device="cpu"), run_dir=work / "run",
    )  # fmt: skip
    kept = ("tokens", "seconds", "tokens_per_s", "mean_loss", "final_loss", "peak_rss_mib")
    print(json.dumps({k: result[k] for k in kept} | {"threads": torch.get_num_threads()}))


def once(argv: list[str]) -> dict[str, Any]:
    """Run a child and parse its last line."""
    env = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "HF_HUB_OFFLINE": "1"}
    found = subprocess.run(argv, check=True, capture_output=True, text=True, env=env)
    parsed: dict[str, Any] = json.loads(found.stdout.strip().splitlines()[-1])
    return parsed


def reference_model() -> Path:
    """Make the 41M reference model once; without its script there is nothing to measure on."""
    script, made = (
        PEER.parent / "make_reference_model.py",
        HERE.parent / ".cache" / "bench" / "ref41",
    )
    if not made.exists():
        if not script.exists():
            raise SystemExit(f"not run: {script} is not here; give a model folder")
        subprocess.run([sys.executable, str(script), str(made)], check=True)
    return made


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("model", nargs="?", help="default: the reference model, made once in .cache")
    p.add_argument(
        "data", nargs="?", default=str(PEER.parent.parent / "data" / "gsm8k_train.jsonl")
    )
    p.add_argument("--rows", type=int, default=256)
    p.add_argument("--pairs", type=int, default=3)
    p.add_argument("--dtype", default="bf16", choices=("bf16", "fp32"))
    p.add_argument("--adapter", default="lora", choices=("lora", "full"))
    p.add_argument("--peer", type=Path, default=PEER, help="peer_trl_sft.py")
    p.add_argument("--child", action="store_true")
    a = p.parse_args()
    if a.model is None:
        a.model = str(reference_model())
    if a.child:
        ours(a)
        return
    peer = os.environ.get("PEER_PYTHON", "")
    there = bool(peer) and a.peer.exists() and a.adapter == "lora"
    us = [sys.executable, __file__, a.model, a.data, "--child", "--rows", str(a.rows),
          "--dtype", a.dtype, "--adapter", a.adapter]  # fmt: skip
    them = [peer, str(a.peer), a.model, "--rows", str(a.rows), "--data", a.data]
    them += ["--fp32"] if a.dtype == "fp32" else []
    runs: dict[str, list[dict[str, Any]]] = {"stead": [], "trl": []}
    for i in range(a.pairs):
        order = [("stead", us), ("trl", them)]
        for name, argv in order if i % 2 == 0 else order[::-1]:
            if name == "stead" or there:
                runs[name].append(once(argv))
                print(name, runs[name][-1], file=sys.stderr)
    line = {
        "bench": "sft", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "n": a.pairs,
        "rows": a.rows, "dtype": a.dtype, "adapter": a.adapter, "load": os.getloadavg()[0],
        "settings": asdict(Settings()), "stead": _median(runs["stead"]),
    }  # fmt: skip
    if there:
        line["trl"] = _median(runs["trl"])
        line["speed_ratio"] = line["stead"]["tokens_per_s"] / line["trl"]["tokens_per_s"]
        line["memory_ratio"] = line["stead"]["peak_rss_mib"] / line["trl"]["peak_rss_mib"]
    else:
        line["not_run"] = (
            "the peer: set PEER_PYTHON, keep ../shared/bench or give --peer, use --adapter lora"
        )
    out = HERE / "results" / "sft.jsonl"
    out.parent.mkdir(exist_ok=True)
    with open(out, "a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    keys = [k for k in runs[0] if isinstance(runs[0][k], int | float)]
    found: dict[str, Any] = {k: statistics.median(r[k] for r in runs) for k in keys}
    return found | {"all_tokens_per_s": [r["tokens_per_s"] for r in runs]}


if __name__ == "__main__":
    main()
