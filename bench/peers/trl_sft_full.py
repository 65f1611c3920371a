"""TRL's SFTTrainer training every weight, otherwise as the LoRA comparison: batches of 8, answers only.

    python trl_sft_full.py MODEL_DIR [--rows 256] [--fp32] --data GSM8K.jsonl

Prints one JSON line; seconds cover `train()` only.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

p = argparse.ArgumentParser()
p.add_argument("model")
p.add_argument("--rows", type=int, default=256)
p.add_argument("--fp32", action="store_true")
p.add_argument("--data", required=True)
a = p.parse_args()
torch.manual_seed(0)
rows = [json.loads(x) for x in Path(a.data).read_text().splitlines()[: a.rows]]
turns = [
    [{"role": "user", "content": r["question"]}, {"role": "assistant", "content": r["answer"]}]
    for r in rows
]
tok = AutoTokenizer.from_pretrained(a.model)
dtype = torch.float32 if a.fp32 else torch.bfloat16
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(a.model, dtype=dtype),
    train_dataset=Dataset.from_list([{"messages": t} for t in turns]), processing_class=tok,
    args=SFTConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=8, num_train_epochs=1,
        max_length=512, assistant_only_loss=True, bf16=not a.fp32,
        use_cpu=not torch.cuda.is_available(), gradient_checkpointing=False, learning_rate=2e-4,
        lr_scheduler_type="constant", report_to=[], logging_steps=1000, save_strategy="no",
    ),
)  # fmt: skip
tokens = sum(len(x) for x in trainer.train_dataset["input_ids"])
start = time.perf_counter()
out = trainer.train()
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"peer": "trl-sft-full", "tokens": tokens, "seconds": round(seconds, 2),
                  "tokens_per_s": round(tokens / seconds, 1), "loss": out.training_loss,
                  "peak_rss_mib": peak}))  # fmt: skip
