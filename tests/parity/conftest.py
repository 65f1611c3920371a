"""Tiny seeded models of the Llama family and PEFT adapters for them, built once per session.

Weights are wide (0.2) so that answers are far apart and a fault shows.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
TEXT = [
    "the quick brown fox jumps over the lazy dog; what is two plus two? two plus two is four.",
    "a small model learns from small examples, one token after another, and answers in short words.",
    "on 20261120 and 20261121, at 1234567 or 1234568; WE'LL they'll\n\n  so\n\n  be it",
]

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Build a model folder; equal arguments give the same folder."""
    made: dict[str, Path] = {}

    def make(
        *, family: str = "Llama", template: str = CHATML, bos: bool = False, **config: Any
    ) -> Path:
        key = json.dumps([family, template, bos, config], sort_keys=True)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("model") / family.lower()
            _write(made[key], family, template, bos, config)
        return made[key]

    return make


def _write(folder: Path, family: str, template: str, bos: bool, config: dict[str, Any]) -> None:
    import torch
    import transformers

    torch.set_num_threads(1)
    tokenizer = _tokenizer(template, bos)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(config.pop("seed", 0))
    values = {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 4, "pad_token_id": 2,
        "tie_word_embeddings": True, "initializer_range": 0.2,
    }  # fmt: skip
    dtype = getattr(torch, config.pop("dtype", "float32"))
    made = getattr(transformers, f"{family}Config")(**(values | config))
    model = getattr(transformers, f"{family}ForCausalLM")(made)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    model.to(dtype).save_pretrained(folder)


def _tokenizer(template: str, bos: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    bpe.train_from_iterator(TEXT, trainer)
    if bos:
        bpe.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="<|im_end|>", pad_token="<pad>"
    )
    made.chat_template = template
    return made


@pytest.fixture(scope="session")
def make_adapter(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Let PEFT make and save an adapter with random weights; `logits.pt`-free: ask `peft_logits`."""

    def make(base: Path, seed: int = 1, **config: Any) -> Path:
        folder = tmp_path_factory.mktemp("adapter")
        _adapter(base, folder, seed, config)
        return folder

    return make


def _adapter(base: Path, folder: Path, seed: int, config: dict[str, Any]) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    values = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns about tied weights; that is what is tested
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **(values | config)))
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name and "magnitude" not in name:
                torch.nn.init.normal_(parameter, std=0.1)
            elif parameter.requires_grad:
                with torch.no_grad():
                    parameter.add_(torch.randn_like(parameter) * 0.05)
        wrapped.save_pretrained(folder)
