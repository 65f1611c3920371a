"""Train every weight; what is saved is a whole model folder.

Knows nothing about optimizers or losses.
"""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from stead.core.errors import ModelError
from stead.models.adapter import Adapter, AdapterConfig, Layers, Origin

if TYPE_CHECKING:
    import torch


class FullConfig(AdapterConfig):
    """No settings: everything is trained."""

    type: Literal["full"] = "full"


class Full(Adapter):
    """Train every weight: the most memory, the most freedom."""

    config: FullConfig
    kind: ClassVar[str] = "model"

    def wrap(self, model: "torch.nn.Module", layers: Layers, seed: int) -> None:
        """Let every parameter be trained; `seed` is not needed."""
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.is_floating_point())

    def save(self, model: "torch.nn.Module", layers: Layers, folder: Path, origin: Origin) -> None:
        """Write the model, its config and the base's tokenizer files."""
        layers.write_model(model, folder, origin.base)

    def attach(self, model: "torch.nn.Module", layers: Layers, folder: Path) -> None:
        """Refuse: a fully trained model is loaded as a model, not onto one."""
        raise ModelError(
            "no-adapter", f"{str(folder)!r} is a whole model, not an adapter for another one"
        )
