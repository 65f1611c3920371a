"""The short names of a run's usual settings, shared by the command line and Python.

Knows nothing about either surface: a short name stands for a dotted key of the recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: its short name, its key in the recipe, help, and whether its value is a text."""

    name: str
    key: str
    help: str
    is_text: bool = False

    @property
    def flag(self) -> str:
        """The flag of the command line."""
        return "--" + self.name.replace("_", "-")


OPTIONS = (
    Option("model", "model.path", "Model folder, or the name of an added model.", is_text=True),
    Option("method", "method", "How to learn, for instance sft.", is_text=True),
    Option("adapter", "adapter", "What is trained, for instance lora or full.", is_text=True),
    Option("out", "out", "Run folder.", is_text=True),
    Option("name", "name", "Name of the run, for people.", is_text=True),
    Option("epochs", "trainer.epochs", "Passes over the training rows."),
    Option("max_steps", "trainer.max_steps", "Stop after so many optimizer steps."),
    Option("batch_tokens", "trainer.batch_tokens", "Most tokens per micro-batch."),
    Option("batch_rows", "trainer.batch_rows", "Exactly so many rows per micro-batch."),
    Option("accumulation", "trainer.accumulation", "Micro-batches per optimizer step."),
    Option("lr", "trainer.lr", "Peak learning rate."),
    Option("optimizer", "trainer.optimizer", "For instance adamw, adamw_8bit, muon.", is_text=True),
    Option(
        "schedule", "trainer.schedule", "Learning rate by step, for instance cosine.", is_text=True
    ),
    Option("seed", "trainer.seed", "Seed of row order, new weights and dropout."),
    Option("dtype", "model.dtype", "fp32, bf16, fp16 or auto.", is_text=True),
    Option("limit", "data.limit", "Use at most so many rows."),
    Option("max_length", "data.max_length", "Longest sequence in tokens."),
    Option("eval_share", "data.eval_share", "Share of rows held out of training."),
)
_KEYS = {option.name: option.key for option in OPTIONS} | {"data": "data.path"}


def keys_of(options: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """Return the same values under their dotted keys; an unknown name is taken as a key itself."""
    plain = {k: str(v) if hasattr(v, "__fspath__") else v for k, v in options.items()}
    return {_KEYS.get(name, name): value for name, value in plain.items()}
