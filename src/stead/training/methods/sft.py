"""Supervised fine-tuning: learn the answers of conversations, token by token.

Knows nothing about adapters, batches or saving; which tokens are answers is the data's mask.
"""

from typing import ClassVar, Literal

from stead.training.method import Columns, Loss, Method, MethodConfig, Model

_IGNORED = -100


class SFTConfig(MethodConfig):
    """No settings of its own: the data section decides what is trained on."""

    type: Literal["sft"] = "sft"


class SFT(Method):
    """Learn from example answers.

    Next-token cross-entropy on the masked tokens.
    """

    config: SFTConfig
    kinds = ("messages", "text")
    smooths_labels = True
    columns = ("tokens",)
    default_lr: ClassVar[dict[str, float]] = {"lora": 2e-4, "full": 2e-5}  # LoRA, table 11

    def weight(self, batch: Columns) -> float:
        """Count the labelled tokens."""
        return float((batch["tokens"].labels != _IGNORED).sum())

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum the loss over the labelled tokens."""
        total, _ = model.label_loss(batch["tokens"])
        return Loss(total)
