"""Linear layers whose inputs or outputs are multiplied by one trained vector, for (IA)³.

Knows nothing about which layers are chosen. Source: arXiv:2205.05638 eq. 1 and §3.3. Legend: K
inputs, N outputs.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from stead.core.errors import ModelError
from stead.models import products
from stead.models.layers.lowrank import LowRankLinear, current_draw


class ScaledLinear(nn.Linear):  # type: ignore[misc]  # torch is untyped here
    """y = l ∘ (x·Wᵀ + b), or y = (l ∘ x)·Wᵀ + b when `of_input`; l begins at one."""

    ia3_l: nn.Parameter
    of_input: bool

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer. Shapes: [..., K] → [..., N]."""
        if current_draw().plain:
            return products.linear(input, self.weight, self.bias)
        scale = self.ia3_l.to(input.dtype)
        if self.of_input:
            return products.linear(input * scale, self.weight, self.bias)
        return products.linear(input, self.weight, self.bias) * scale


def add_scales(model: nn.Module, names: Collection[str], *, of_input: Collection[str]) -> None:
    """Put a trainable vector on each named layer: on its inputs for those in `of_input`.

    The vectors have one axis, so that weight decay, which is for matrices, leaves them alone.
    Raises: ModelError("already-adapted").
    """
    for name in names:
        layer = model.get_submodule(name)
        if isinstance(layer, ScaledLinear | LowRankLinear):
            raise ModelError("already-adapted", f"the layer {name!r} has an adapter already")
        layer.__class__ = ScaledLinear
        layer.of_input = name in of_input
        size = layer.in_features if layer.of_input else layer.out_features
        layer.ia3_l = nn.Parameter(torch.ones(size, device=layer.weight.device))
