"""Linear layers that add up the squares of their inputs while rows are trained on.

Knows nothing about what the sums are for. Each micro-batch has its own sum, by its dropout counter,
and they are added in that order: the result does not depend on which lane was first. Legend: K inputs.
"""

import torch
from torch import Tensor, nn

from stead.models import products
from stead.models.layers.lowrank import current_draw


class ObservedLinear(nn.Linear):  # type: ignore[misc]  # torch is untyped here
    """x·Wᵀ + b, counting. Made by changing a linear layer's class."""

    seen: dict[int, Tensor]  # counter of the micro-batch → Σ x², float64 [K]

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer. Shapes: [..., K] → [..., N]."""
        draw = current_draw()
        if draw.active and not draw.plain:
            squares = input.detach().reshape(-1, input.shape[-1]).double().square().sum(0)
            former = self.seen.get(draw.step)
            self.seen[draw.step] = squares if former is None else former + squares
        return products.linear(input, self.weight, self.bias)


def observe(model: nn.Module, names: list[str]) -> None:
    """Let each named linear layer count."""
    for name in names:
        layer = model.get_submodule(name)
        layer.__class__ = ObservedLinear
        layer.seen = {}


def take_squares(model: nn.Module) -> dict[str, Tensor]:
    """Return Σ x² of each counting layer since the last call, by name. Shapes: float64 [K]."""
    found = {}
    for name, layer in model.named_modules():
        if isinstance(layer, ObservedLinear) and layer.seen:
            parts, layer.seen = layer.seen, {}
            found[name] = torch.stack([parts[k] for k in sorted(parts)]).sum(0)
    return found


def counts(model: nn.Module) -> bool:
    """Say whether any layer counts, so that no filling tokens may be computed."""
    return any(isinstance(layer, ObservedLinear) for layer in model.modules())
