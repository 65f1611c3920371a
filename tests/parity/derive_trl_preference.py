"""Derive the per-step losses of TRL's preference trainers that `test_trl_preference.py` compares with.

    PYTHONPATH=src:. python tests/parity/derive_trl_preference.py > tests/parity/trl_preference.json

Needs an environment with torch, transformers, peft and trl. Rows come in file order and tokenized,
adapters and the reward head start from the same numbers as ours, everything is float32. ORPO's
prompts have one token and its batches one pair, because TRL averages the chosen answers' loss over
prompt and answer tokens of the whole batch and we over the answer of each pair (the paper's eq. 3).
"""

import json
import sys
import tempfile
from contextlib import redirect_stdout

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from tests.fakes.preference import pairs
from tests.fakes.sft import VOCABULARY, tiny_model
from tests.parity.derive_trl_sft import same_start
from tokenizers import Tokenizer, models
from torch.utils.data import SequentialSampler
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from stead.core import seeds

ROWS = 24
DPO = {
    "sigmoid": {},
    "hinge": {},
    "ipo": {},
    "robust": {"label_smoothing": 0.1},
    "apo_zero": {},
    "apo_down": {},
}


def in_order(trainer):
    """Return the trainer's class, walking through prepared rows in their order."""
    return type(
        trainer.__name__,
        (trainer,),
        {
            "_get_train_sampler": lambda self, *_, **__: SequentialSampler(self.train_dataset),
            "_prepare_dataset": lambda self, dataset, *_, **__: dataset,
            "tokenize_row": lambda self, row, **_: row,
        },
    )


def split(row):
    """Return prompt and answer of (tokens, mask)."""
    first = row[1].index(1)
    return row[0][:first], row[0][first:]


def pair_rows(rows):
    for chosen, rejected in rows:
        prompt, good = split(chosen)
        yield {"prompt_ids": prompt, "chosen_ids": good, "rejected_ids": split(rejected)[1]}


def labelled_rows(rows):
    flat = [split(one) for pair in rows for one in pair[:1]]
    for i, (prompt, answer) in enumerate(flat):
        yield {
            "prompt_ids": prompt, "completion_ids": answer, "label": i % 2 == 0,
            "KL_completion_ids": flat[i - 1][1],
        }  # fmt: skip


def whole_rows(rows):
    for chosen, rejected in rows:
        yield {"chosen_ids": chosen[0], "rejected_ids": rejected[0], "margin": 0.5}


def labels_rows(rows):
    for row in rows:
        made = {"prompt": "", "chosen": "", "rejected": ""}
        for name, (ids, mask) in zip(("chosen", "rejected"), row, strict=True):
            made[f"{name}_input_ids"] = ids
            made[f"{name}_attention_mask"] = [1] * len(ids)
            made[f"{name}_labels"] = [t if m else -100 for t, m in zip(ids, mask, strict=True)]
        prompt = split(row[0])[0]
        yield made | {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}


def one_token_prompts(rows):
    for pair in rows:
        yield tuple(((p := split(one))[0][:1] + p[1], [0] + [1] * len(p[1])) for one in pair)


def losses(trainer_class, config_class, data, *, lora=True, model=None, batch=4, **more):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(
            models.WordLevel({str(i): i for i in range(VOCABULARY)}, unk_token="0")
        ),
        pad_token="0",
        eos_token="1",
    )
    folder = tempfile.mkdtemp()
    tiny_model().save_pretrained(folder)
    trainer = in_order(trainer_class)(
        model=folder if model is None else model(folder),
        train_dataset=Dataset.from_list(list(data)),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=8, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        if lora
        else None,
        args=config_class(
            output_dir=tempfile.mkdtemp(), per_device_train_batch_size=batch, num_train_epochs=1,
            max_length=128, bf16=False, use_cpu=True, gradient_checkpointing=False,
            learning_rate=2e-3 if lora else 1e-4, lr_scheduler_type="constant", report_to=[],
            logging_steps=1, save_strategy="no", remove_unused_columns=False, disable_tqdm=True,
            **more,
        ),
    )  # fmt: skip
    if lora:
        same_start(trainer.model)
    with redirect_stdout(sys.stderr):
        trainer.train()
    return [float(h["loss"]) for h in trainer.state.log_history if "loss" in h]


def scorer(folder):
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32, pad_token_id=0
    )
    width = model.config.hidden_size
    generator = torch.Generator().manual_seed(seeds.stream(42, 0, "reward_head"))
    with torch.no_grad():
        model.score.weight.copy_(torch.randn(1, width, generator=generator) * (width + 1) ** -0.5)
    return model


def main():
    rows = pairs(ROWS, seed=3, vocabulary=VOCABULARY)
    single = list(one_token_prompts(rows))
    found = {}
    for name, more in DPO.items():
        found[f"dpo-{name}"] = losses(
            DPOTrainer, DPOConfig, pair_rows(rows), loss_type=name, beta=0.1, **more
        )
    found["dpo-simpo"] = losses(
        CPOTrainer, CPOConfig, labels_rows(rows), loss_type="simpo", beta=2.0, simpo_gamma=0.5,
        cpo_alpha=0.0,
    )  # fmt: skip
    found["kto"] = losses(
        KTOTrainer, KTOConfig, labelled_rows(rows), beta=0.1, undesirable_weight=1.5,
        train_sampling_strategy="sequential",
    )  # fmt: skip
    found["orpo"] = losses(ORPOTrainer, ORPOConfig, labels_rows(single), beta=0.1, batch=1)
    found["reward"] = losses(
        RewardTrainer, RewardConfig, whole_rows(rows), lora=False, model=scorer,
        center_rewards_coefficient=0.01,
    )  # fmt: skip
    made = {"trl": trl.__version__, "torch": torch.__version__}
    print(json.dumps({"made_with": made, "losses": found}, indent=1))


if __name__ == "__main__":
    main()
