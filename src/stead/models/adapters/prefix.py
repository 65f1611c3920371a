"""Prefix tuning: train keys and values that every layer's attention sees before every row.

Knows nothing about losses or the loop. Source: arXiv:2101.00190 §4; files: PEFT's PREFIX_TUNING.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.models.layers.prompt_adapter import (
    TWO_SHAPES,
    Prompt,
    VirtualAdapter,
    WordsConfig,
    no_room,
    read_fields,
)

if TYPE_CHECKING:
    import torch


class PrefixConfig(WordsConfig):
    """How many virtual tokens, what they begin as, and whether a network makes them.

    As words (§7.4 of the paper) they begin with the activations that the words have in the model.
    """

    type: Literal["prefix"] = "prefix"
    projection: bool = Field(
        default=False,
        description="make keys and values by a network of two layers while training; begins random",
    )
    hidden: int | None = Field(
        default=None, ge=1, description="width of that network; None: the width of a layer's keys"
    )

    def require(self, model: Any) -> None:  # Any: planning's ModelFacts
        """Refuse compressed keys and values, too: they are of two shapes. Source: arXiv:2405.04434 §2.1."""
        super().require(model)
        if getattr(model, "config", {}).get("kv_lora_rank") is not None:
            raise no_room(model.architecture, TWO_SHAPES.format(2))

    def trained_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return how many numbers are trained: keys and values, or vectors and the network that makes them."""
        if not self.projection:
            return self.saved_parameters(model)
        keys = self._keys(model)
        width = 2 * int(model.layers) * keys
        hidden = keys if self.hidden is None else self.hidden
        return int(self.tokens * keys + hidden * (keys + 1) + width * (hidden + 1))

    def saved_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return how many numbers the result holds: keys and values of every layer."""
        return int(self.tokens * 2 * model.layers * self._keys(model))

    def _keys(self, model: Any) -> int:  # Any: planning's ModelFacts
        size = getattr(model, "head_dim", 0) * getattr(model, "kv_heads", 0)
        return int(size if size else model.hidden_size)


class PrefixTuning(VirtualAdapter):
    """Train what every layer sees before the text; no weight changes.

    Virtual tokens as keys and values of every layer.
    """

    config: PrefixConfig
    peft_type: ClassVar[str] = "PREFIX_TUNING"
    keys: ClassVar[bool] = True

    def prompt(self, model: "torch.nn.Module", seed: int) -> Prompt:
        """Begin as words' activations, as small random numbers, or as a fresh network's output."""
        config = self.config
        return Prompt(
            config.tokens, True, seed, start=config.start, ids=config.ids(model),
            net="mlp" if config.projection else "none", hidden=config.hidden,
        )  # fmt: skip

    def peft(self) -> dict[str, Any]:
        """Describe the network that is gone."""
        return {
            "prefix_projection": self.config.projection,
            "encoder_hidden_size": self.config.hidden,
        }

    @classmethod
    def read(cls, folder: Path) -> PrefixConfig | None:
        """Read PEFT's PREFIX_TUNING config."""
        data = read_fields(folder, cls.peft_type)
        return None if data is None else PrefixConfig(tokens=data["num_virtual_tokens"])
