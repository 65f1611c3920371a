"""Quantisation-aware training: all weights are trained, linear layers compute as if rounded.

Knows nothing about losses or the loop. What is saved lies on the grid. Source: arXiv:1712.05877 §3.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.core.errors import ModelError
from stead.models import groups
from stead.models.adapter import Adapter, AdapterConfig, Layers, Origin

if TYPE_CHECKING:
    import torch


class QatConfig(AdapterConfig):
    """The grid: 4 or 8 bits, and how many weights share a scale.

    With groups of 32 the grids are GGUF's q4_0 and q8_0. Embeddings and the output layer stay as they are.
    """

    type: Literal["qat"] = "qat"
    bits: Literal[4, 8] = Field(default=8, description="bits of each weight of a linear layer")
    group: int = Field(
        default=32, ge=0, description="weights of a row that share a scale; 0: the whole row"
    )
    activations: bool = Field(
        default=False, description="round the inputs of linear layers to 8 bits too, row by row"
    )

    def trained_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return how many numbers are trained: all. Raises: ModelError("group-size")."""
        return groups.check_model(model, self.group, f"adapter.group={self.group}")


class Qat(Adapter):
    """Train for 4 or 8 bits, so that rounding costs little later.

    Full fine-tuning on a grid.
    """

    config: QatConfig
    kind: ClassVar[str] = "model"
    needs_whole: ClassVar[bool] = True

    def is_rough(self) -> bool:
        """Say whether inputs are rounded: a last bit may then decide a whole step of the grid."""
        return self.config.activations

    def wrap(self, model: "torch.nn.Module", layers: Layers, seed: int) -> None:
        """Let every parameter be trained; put linear layers on their grid."""
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        c = self.config
        names = layers.detect_targets(model, "all-linear")
        layers.add_grid(model, names, bits=c.bits, group=c.group, activations=c.activations)

    def save(self, model: "torch.nn.Module", layers: Layers, folder: Path, origin: Origin) -> None:
        """Write the model with its linear weights on the grid."""
        layers.write_changed(model, folder, origin.base, layers.grid_weights(model), {})

    def attach(self, model: "torch.nn.Module", layers: Layers, folder: Path) -> None:
        """Refuse: what was trained is a whole model."""
        raise ModelError(
            "no-adapter", f"{str(folder)!r} is a whole model, not an adapter for another one"
        )
