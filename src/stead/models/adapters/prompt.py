"""Prompt tuning: train the embeddings of virtual tokens before every row.

Knows nothing about losses or the loop. Source: arXiv:2104.08691 §2; files: PEFT's PROMPT_TUNING.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from stead.models.layers.prompt_adapter import Prompt, VirtualAdapter, WordsConfig, read_fields

if TYPE_CHECKING:
    import torch


class PromptConfig(WordsConfig):
    """How many virtual tokens, and what they begin as."""

    type: Literal["prompt"] = "prompt"


class PromptTuning(VirtualAdapter):
    """Train a few invisible words before the text; no weight changes.

    Virtual tokens as embeddings.
    """

    config: PromptConfig
    peft_type: ClassVar[str] = "PROMPT_TUNING"

    def prompt(self, model: "torch.nn.Module", seed: int) -> Prompt:
        """Begin as words or as small random numbers."""
        return Prompt(
            self.config.tokens, False, seed, start=self.config.start, ids=self.config.ids(model)
        )

    def peft(self) -> dict[str, Any]:
        """Say that nothing is drawn when the file is loaded."""
        return {"prompt_tuning_init": "RANDOM"}

    @classmethod
    def read(cls, folder: Path) -> PromptConfig | None:
        """Read PEFT's PROMPT_TUNING config."""
        data = read_fields(folder, cls.peft_type)
        return None if data is None else PromptConfig(tokens=data["num_virtual_tokens"])
