"""SFT speed and memory beside TRL, in alternating runs: the same model, rows and hyper-parameters.

    PEER_PYTHON=/path/to/peer/bin/python python bench/sft.py [MODEL [GSM8K.jsonl]] [--adapter full]

Each side runs in a fresh process. One JSON line per comparison is appended to
bench/results/sft.jsonl. Without the peer it measures our side alone and says so.
"""

import argparse
import json
from pathlib import Path

from pairs import HERE, compare, parser, prepared, reference_model

SETTINGS = {  # what the peer's script does: one epoch of batches of 8, constant rate, no decay
    "epochs": 1.0, "batch_tokens": None, "batch_rows": 8, "lr": 2e-4, "schedule": "constant",
    "warmup": 0.0, "weight_decay": 0.0, "checkpoint_every": 1_000_000, "proofs": False,
    "trackers": (),
}  # fmt: skip


def ours(a: argparse.Namespace) -> None:
    """Train once in this process; print one JSON line."""
    import torch

    from stead.config.run import TrainerSection
    from stead.models.load import load_model
    from stead.training.fit import fit

    work, data = prepared(a, "messages", 512)
    result = fit(
        trainer=TrainerSection(**SETTINGS), method_name="sft", method_config={},
        adapter_name=a.adapter, adapter_config={"dropout": 0.0} if a.adapter == "lora" else {},
        prepared=data, loaded=load_model(Path(a.model), dtype=a.dtype, device="cpu"),
        run_dir=work / "run",
    )  # fmt: skip
    kept = ("tokens", "seconds", "tokens_per_s", "mean_loss", "final_loss", "peak_rss_mib")
    print(json.dumps({k: result[k] for k in kept} | {"threads": torch.get_num_threads()}))


def main() -> None:
    p = parser(str(__doc__), "gsm8k_train.jsonl", "peer_trl_sft.py", 256)
    p.add_argument("--dtype", default="bf16", choices=("bf16", "fp32"))
    p.add_argument("--adapter", default="lora", choices=("lora", "full"))
    a = p.parse_args()
    a.model = reference_model() if a.model is None else a.model
    if a.child:
        ours(a)
        return
    peer = HERE / "peers" / "trl_sft_full.py" if a.adapter == "full" else a.peer
    us = [__file__, a.model, a.data, "--child", "--rows", str(a.rows),
          "--dtype", a.dtype, "--adapter", a.adapter]  # fmt: skip
    them = [str(peer), a.model, "--rows", str(a.rows), "--data", a.data]
    them += ["--fp32"] if a.dtype == "fp32" else []
    facts = {"rows": a.rows, "dtype": a.dtype, "adapter": a.adapter, "settings": SETTINGS}
    compare("sft", us, them, pairs=a.pairs, speed="tokens_per_s", facts=facts)


if __name__ == "__main__":
    main()
