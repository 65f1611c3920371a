"""Continued pretraining: learn every token of plain text, documents kept apart.

Knows nothing about adapters, batches or saving.
"""

from typing import ClassVar, Literal

from stead.training.method import Columns, Loss, Method, MethodConfig, Model

_IGNORED = -100


class PretrainConfig(MethodConfig):
    """No settings of its own."""

    type: Literal["pretrain"] = "pretrain"


class Pretrain(Method):
    """Learn from plain text: a language, a field, a style.

    Next-token cross-entropy on all tokens.
    """

    config: PretrainConfig
    kinds = ("text",)
    smooths_labels = True
    columns = ("tokens",)
    default_lr: ClassVar[dict[str, float]] = {"lora": 2e-4, "full": 3e-4}

    def weight(self, batch: Columns) -> float:
        """Count the labelled tokens."""
        return float((batch["tokens"].labels != _IGNORED).sum())

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum the loss over the labelled tokens."""
        total, _ = model.label_loss(batch["tokens"])
        return Loss(total)
