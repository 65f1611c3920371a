"""DPO speed and memory beside TRL, in alternating runs: the same model, pairs and hyper-parameters.

    PEER_PYTHON=/path/to/peer/bin/python python bench/dpo.py [MODEL [PAIRS.json]] [--rows 64]

Each side runs in a fresh process. Our seconds are the whole of `fit`: the reference table, the steps
and writing the result; the peer's are its `train()`, which asks the reference live. Both leave out
pairs whose prompt fills the length and count them all the same. One JSON line per comparison is
appended to bench/results/dpo.jsonl.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from pairs import compare, parser, prepared, reference_model
from sft import SETTINGS

MAX_LENGTH = 1024  # the peer's


def ours(a: argparse.Namespace) -> None:
    """Train once in this process; print one JSON line."""
    import torch

    from stead.config.run import TrainerSection
    from stead.core.events import AnyEvent, Finished
    from stead.models.load import load_model
    from stead.training.fit import fit

    work, data = prepared(a, "preference", MAX_LENGTH)
    loaded = load_model(Path(a.model), dtype=a.dtype, device="cpu")
    reference: dict[str, Any] = {}

    def watch(event: AnyEvent) -> None:
        if isinstance(event, Finished) and event.stage == "reference":
            reference.update(event.result)

    start = time.perf_counter()
    result = fit(
        trainer=TrainerSection(**SETTINGS | {"batch_rows": a.batch}), method_name="dpo", method_config={"beta": 0.1},
        adapter_name=a.adapter, adapter_config={"dropout": 0.0} if a.adapter == "lora" else {},
        prepared=data, loaded=loaded, run_dir=work / "run", emit=watch,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    learnt = data.splits["train"]
    line = {k: result[k] for k in ("tokens", "mean_loss", "final_loss", "peak_rss_mib")} | {
        "pairs": learnt,
        "pairs_left_out": a.rows - learnt,  # nothing of an answer is left in MAX_LENGTH tokens
        "seconds": round(seconds, 2),
        "reference_s": reference["seconds"],
        "pairs_per_s": round(learnt / seconds, 3),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(line))


def main() -> None:
    p = parser(str(__doc__), "dpo_en_demo.json", "peer_trl_dpo.py", 64)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--dtype", default="bf16", choices=("bf16", "fp32"))
    p.add_argument("--adapter", default="lora", choices=("lora", "full"))
    a = p.parse_args()
    a.model = reference_model() if a.model is None else a.model
    if a.child:
        ours(a)
        return
    common = ["--rows", str(a.rows), "--batch", str(a.batch)]
    us = [__file__, a.model, a.data, "--child", *common, "--dtype", a.dtype, "--adapter", a.adapter]
    them = [str(a.peer), a.model, *common, "--data", a.data]
    same = a.dtype == "bf16" and a.adapter == "lora"  # all the peer's script does
    facts = {"rows": a.rows, "batch": a.batch, "dtype": a.dtype, "adapter": a.adapter}
    facts["settings"] = SETTINGS | {"batch_rows": a.batch}
    compare("dpo", us, them if same else None, pairs=a.pairs, speed="pairs_per_s", facts=facts)


if __name__ == "__main__":
    main()
