"""Prompts, rewards and whole reinforcement-learning runs on the tiny model."""

import json
import shutil
import zlib
from itertools import pairwise
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


def rows(path: Path, model: Path, count: int = 6, eval_share: float = 0.0) -> PreparedData:
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
    section = DataSection(path=str(source), eval_share=eval_share)
    return prepare(section, model, path / "data", kind_wanted="prompts")


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
    return prepare(section, model, path / "data", kind_wanted="prompts")


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


# Rewards that can be gamed, by the sign that must come up, and rewards that cannot.


def long(completions: list[str], counts: list[int]) -> list[float]:
    """Pay for length."""
    return [n / 16 for n in counts]


def repeated(completions: list[str]) -> list[float]:
    """Pay for characters that repeat the one before."""
    return [sum(a == b for a, b in pairwise(t)) / max(1, len(t) - 1) for t in completions]


def short(completions: list[str]) -> list[float]:
    """Pay for saying little."""
    return [1.0 / (1 + len(t)) for t in completions]


def digits(completions: list[str]) -> list[float]:
    """Pay for digits."""
    return [sum(c.isdigit() for c in t) / max(1, len(t)) for t in completions]


def marks(completions: list[str]) -> list[float]:
    """Pay for punctuation, as a format reward that counts marks does."""
    return [
        sum(not c.isalnum() and not c.isspace() for c in t) / max(1, len(t)) for t in completions
    ]


def echoes(prompts: list[str], completions: list[str]) -> list[float]:
    """Pay for the longest piece of the prompt in the answer."""

    def longest(text: str, prompt: str) -> int:
        sizes = range(len(text), 0, -1)
        return next(
            (n for n in sizes if any(text[i : i + n] in prompt for i in range(len(text) - n + 1))),
            0,
        )

    return [longest(t, p) / len(p) for p, t in zip(prompts, completions, strict=True)]


def keyword(completions: list[str]) -> list[float]:
    """Pay for the word "two", as often as it comes."""
    return [t.count("two") / 4 for t in completions]


def letters(completions: list[str]) -> list[float]:
    """Pay 1 for an answer that begins with a small letter: an honest wish for its form."""
    return [float(t[:1].islower()) for t in completions]


def middling(completions: list[str], counts: list[int]) -> list[float]:
    """Pay for answers of about six tokens."""
    return [-abs(n - 6) / 6 for n in counts]


def luck(completions: list[str]) -> list[float]:
    """Pay by chance, the same chance for the same text."""
    return [zlib.crc32(t.encode()) % 100 / 100 for t in completions]


def nothing(completions: list[str]) -> list[float]:
    """Pay everybody the same."""
    return [0.5 for _ in completions]


HACKS = {
    "length": "long", "repetition": "repeated", "empty": "short", "digits": "digits",
    "marks": "marks", "copy": "echoes", "keyword": "keyword",
}  # fmt: skip
CLEAN = ("letters", "middling", "luck", "nothing")


def talkative(folder: Path, model: Path) -> Path:
    """Copy the tiny model so that about every eighth token ends its answer."""
    shutil.copytree(model, folder)
    ends = {"eos_token_id": [2, *range(280, 320)]}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    return folder


def warnings_of(model: Path, data: PreparedData, out: Path, reward: str, **more: Any) -> list[str]:
    """Train on a reward and return the signs that were warned of, in order."""
    told: list[str] = []

    def listen(event: Any) -> None:
        code = getattr(event, "code", "")
        if code.startswith("reward-hacking-"):
            told.append(code.removeprefix("reward-hacking-"))

    method = {"num_generations": 16, "max_completion_length": 16, "loss_type": "dr_grpo"}
    method |= more.pop("method", {})
    settings = {"max_steps": 80, "lr": 0.01, "schedule": "constant", "warmup": 0.0} | more
    run(
        model, data, out, "grpo", emit=listen, epochs=99.0, adapter="full",
        method_config=config(rewards=[{"function": f"tests.fakes.rl:{reward}"}], **method), **settings,
    )  # fmt: skip
    return told


def planted(model: Path, folder: Path, sign: str, **more: Any) -> list[str]:
    """Train on the reward that pays for a sign; return what was warned of."""
    chatty = talkative(folder / "model", model)
    alone = {"batch_rows": 1, "method": {"num_generations": 32}} if sign == "copy" else {}
    data = rows(folder / "rows", chatty, 1 if alone else len(QUESTIONS))
    settings = {
        "lr": 5e-3,
        "max_steps": 30 if sign in ("empty", "digits") else 100,
        **alone,
        **more,
    }
    return warnings_of(chatty, data, folder / "run", HACKS[sign], **settings)


def honest(model: Path, folder: Path, reward: str, *, seed: int, steps: int) -> list[str]:
    """Train on an honest reward, held back by the starting model; return what was warned of."""
    chatty = talkative(folder / "model", model)
    data = rows(folder / "rows", chatty)
    return warnings_of(chatty, data, folder / "run", reward, lr=2e-3, seed=seed, max_steps=steps,
                       method={"beta": 0.1})  # fmt: skip
