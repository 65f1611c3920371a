"""Derive the per-step SFT losses of TRL that `test_trl_sft.py` compares with.

    PYTHONPATH=src:. python tests/parity/derive_trl_sft.py > tests/parity/trl_sft.json
    PYTHONPATH=src:. python tests/parity/derive_trl_sft.py --model DIR --data gsm8k_train.jsonl --rows 256

Needs an environment with torch, transformers, peft and trl. Rows come in file order (TRL's own
sampler shuffles), adapters start from the same numbers as ours, everything is float32.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from tests.fakes.sft import tiny_model, tiny_rows
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from stead.core import seeds


class InOrder(SFTTrainer):
    """TRL's trainer, walking through the rows in their order."""

    def _get_train_sampler(self, *_, **__):
        return SequentialSampler(self.train_dataset)


def chat_rows(tokenizer, path, count):
    for line in Path(path).read_text().splitlines()[:count]:
        row = json.loads(line)
        messages = [
            {"role": "user", "content": row["question"]},
            {"role": "assistant", "content": row["answer"]},
        ]
        found = tokenizer.apply_chat_template(
            messages, return_assistant_tokens_mask=True, return_dict=True
        )
        yield found["input_ids"], found["assistant_masks"]


def same_start(model, seed=42):
    """Give A the numbers that `models/layers/lowrank.add_low_rank` draws."""
    for name, parameter in model.named_parameters():
        if ".lora_A." in name:
            place = name.removeprefix("base_model.model.").split(".lora_A.")[0]
            generator = torch.Generator().manual_seed(seeds.stream(seed, 0, f"lora_A.{place}"))
            bound = parameter.shape[1] ** -0.5
            with torch.no_grad():
                parameter.copy_(
                    torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
                )


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model")
    p.add_argument("--data")
    p.add_argument("--rows", type=int, default=256)
    a = p.parse_args()
    if a.model:
        tokenizer = AutoTokenizer.from_pretrained(a.model)
        model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
        rows = list(chat_rows(tokenizer, a.data, a.rows))
    else:
        model, rows = tiny_model(), tiny_rows()
        folder = tempfile.mkdtemp()
        model.save_pretrained(folder)
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel({str(i): i for i in range(128)}, "0")),
            pad_token="0",
            eos_token="1",
        )
    labelled = [
        {"input_ids": t, "labels": [x if y else -100 for x, y in zip(t, m, strict=True)]}
        for t, m in rows
    ]
    data = Dataset.from_list(labelled)
    trainer = InOrder(
        model=model,
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=8, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(), per_device_train_batch_size=8, num_train_epochs=1,
            max_length=512, bf16=False, use_cpu=True,
            gradient_checkpointing=False, learning_rate=2e-4 if a.model else 2e-3,
            lr_scheduler_type="constant", report_to=[], logging_steps=1, save_strategy="no",
            dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False,
        ),
    )  # fmt: skip
    same_start(trainer.model)
    trainer.train()
    losses = [h["loss"] for h in trainer.state.log_history if "loss" in h]
    print(
        json.dumps(
            {"made_with": {"trl": trl.__version__, "torch": torch.__version__}, "losses": losses}
        )
    )


if __name__ == "__main__":
    main()
