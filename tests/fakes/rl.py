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
