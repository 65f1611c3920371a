"""Prompts, rewards and whole reinforcement-learning runs on the tiny model."""

import json
from pathlib import Path
from typing import Any

from tests.fakes import training

from stead.config.run import DataSection
from stead.core.events import ignore
from stead.data.prepare import prepare
from stead.values import PreparedData

QUESTIONS = (
    "two plus two",
    "the quick fox",
    "a lazy dog",
    "one small token",
    "what is four",
    "learn",
)


def rows(path: Path, model: Path, count: int = 6) -> PreparedData:
    """Write question rows with a reference answer and a column, and prepare them."""
    made = [
        {
            "messages": [
                {"role": "user", "content": f"{QUESTIONS[i % len(QUESTIONS)]} {i}"},
                {"role": "assistant", "content": f"four {i}"},
            ],
            "level": i,
        }
        for i in range(count)
    ]
    path.mkdir(parents=True, exist_ok=True)
    source = path / "rows.jsonl"
    source.write_text("".join(json.dumps(r) + "\n" for r in made))
    section = DataSection(path=str(source), eval_share=0.0)
    return prepare(section, model, path / "data", kind_wanted="messages")


def vowels(completions: list[str]) -> list[float]:
    """Return the share of vowels: cheap, never constant on random text."""
    return [sum(c in "aeiou" for c in t) / max(1, len(t)) for t in completions]


def config(**more: Any) -> dict[str, Any]:
    """Return small settings of a rollout method."""
    return {
        "rewards": [{"function": "tests.fakes.rl:vowels"}],
        "num_generations": 4,
        "max_completion_length": 6,
    } | more


def run(model: Path, data: PreparedData, out: Path, method: str, **more: Any) -> dict[str, Any]:
    """Train a few steps."""
    settings = {"max_steps": 4, "epochs": 9.0, "batch_rows": 2, "lr": 5e-3} | more
    chosen = settings.pop("method_config", config())
    return training.run(
        model, data, out, method=method, method_config=chosen,
        emit=settings.pop("emit", ignore), **settings,
    )  # fmt: skip


WORDS = ("a", "b", "c")
WORTH = {"a": 0.2, "b": 1.0, "c": 0.0}


def worth(completions: list[str]) -> list[float]:
    """Return what each of the toy's three words is worth."""
    return [WORTH[t.strip()] for t in completions]


def toy_model(folder: Path, seed: int = 0) -> Path:
    """Write a model with three words, no end token, whose every prompt is the word "a"."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.chat_template = (
        "a {% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        "{% endgeneration %}{% endif %}{% endfor %}"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=3, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=16,
        tie_word_embeddings=False, initializer_range=0.5, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def toy_rows(path: Path, model: Path) -> PreparedData:
    """Prepare one question of the toy."""
    path.mkdir(parents=True, exist_ok=True)
    source = path / "rows.jsonl"
    turns = [{"role": "user", "content": "b"}, {"role": "assistant", "content": "b"}]
    source.write_text(json.dumps({"messages": turns}) + "\n")
    section = DataSection(path=str(source), eval_share=0.0)
    return prepare(section, model, path / "data", kind_wanted="messages")


def policy(folder: Path) -> Any:
    """Return the toy's distribution over its three words, as a tensor."""
    import torch
    from transformers import LlamaForCausalLM

    with torch.no_grad():
        logits = LlamaForCausalLM.from_pretrained(folder)(torch.tensor([[0]])).logits
    return torch.softmax(logits[0, -1].double(), -1)


def only_level_0(completions: list[str], level: list[int]) -> list[float]:
    """Return the share of vowels for the row with level 0, and nothing for the others."""
    return [v if n == 0 else 0.0 for v, n in zip(vowels(completions), level, strict=True)]


def raises(completions: list[str]) -> list[float]:
    """Fail."""
    return [1 / 0 for _ in completions]


def not_a_number(completions: list[str]) -> list[float]:
    """Return NaN for the last answer."""
    return [0.0] * (len(completions) - 1) + [float("nan")]


def too_few(completions: list[str]) -> list[float]:
    """Return two numbers, however many answers there are."""
    return [0.0, 1.0]


def wants_a_column(completions: list[str], nowhere: list[str]) -> list[float]:
    """Ask for a column that no row has."""
    return [float(len(n)) for n in nowhere]
