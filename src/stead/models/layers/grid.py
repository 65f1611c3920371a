"""Weights on a grid of 8 or 4 bits: the rounding, and linear layers that train as if rounded.

Knows nothing about files. The grids are GGUF's q8_0 and q4_0 when 32 weights share a scale, so that a
model trained on them loses nothing when it is exported so. Legend: N outputs, K inputs, G groups.
"""

from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from stead.models import groups, products

_lock = Lock()  # lanes ask for the same rounded weight; not a layer's own, since layers are copied


@dataclass(slots=True)
class Grid:
    """How one layer is rounded; `group` weights of a row share a scale, 0: the whole row."""

    bits: int
    group: int
    activations: bool = False
    cached: tuple[int, Tensor] | None = field(default=None, repr=False)  # weight's version, rounded


def snap(weight: Tensor, bits: int, group: int) -> Tensor:
    """Return the nearest weights on the grid, in float32. Shapes: [N, K] → [N, K].

    8 bits: 127 steps to each side of zero; 4 bits: -8 to 7 steps of the extreme weight's sign. Scales
    are rounded to float16. Source: ggml's quantize_row_q8_0_ref and quantize_row_q4_0_ref.
    Raises: ModelError("group-size") when rows are no whole groups.
    """
    N, K = weight.shape
    width = group if group else K
    groups.check(K, width, "", f"adapter.group={width}")
    x = weight.detach().float().view(N, K // width, width)
    if bits == 8:
        scale = x.abs().amax(-1, keepdim=True) / 127
        turned = x * _inverse(scale)
        codes = torch.trunc(turned + torch.sign(turned) * 0.5)  # halves away from zero, as C does
    else:
        extreme = x.gather(-1, x.abs().argmax(-1, keepdim=True))
        scale = extreme / -8
        codes = torch.floor(x * _inverse(scale) + 8.5).clamp_(0, 15) - 8
    return (codes * scale.half().float()).view(N, K)


def _inverse(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 0.0, 1.0 / scale)


def snap_rows(x: Tensor) -> Tensor:
    """Return activations rounded to 8 bits, each row with its own scale. Shapes: [..., K] → same."""
    scale = x.abs().amax(-1, keepdim=True).float() / 127
    return (torch.round(x.float() * _inverse(scale)) * scale).to(x.dtype)


class _Through(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """Rounded values forward, the gradient unchanged backward (straight-through, arXiv:1308.3432)."""

    @staticmethod
    def forward(ctx: Any, exact: Tensor, rounded: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class GridLinear(nn.Linear):  # type: ignore[misc]  # torch is untyped here
    """x·round(W)ᵀ + b, with the gradient of x·Wᵀ + b. Made by changing a linear layer's class."""

    grid: Grid

    def rounded(self) -> Tensor:
        """Return the weight on its grid, in the weight's type; computed once per change of it."""
        version = self.weight._version
        with _lock:
            kept = self.grid.cached
            if kept is None or kept[0] != version:
                with torch.inference_mode(mode=False):  # training uses what generation computed
                    found = snap(self.weight, self.grid.bits, self.grid.group)
                    found = found.to(self.weight.dtype)
                kept = self.grid.cached = (version, found)
        return kept[1]

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer. Shapes: [..., K] → [..., N]."""
        x = _Through.apply(input, snap_rows(input.detach())) if self.grid.activations else input
        return products.linear(x, _Through.apply(self.weight, self.rounded()), self.bias)


def add_grid(
    model: nn.Module, names: list[str], *, bits: int, group: int, activations: bool
) -> None:
    """Let each named linear layer compute as if rounded. Raises: ModelError("group-size")."""
    for name in names:
        layer = model.get_submodule(name)
        layer.__class__ = GridLinear
        layer.grid = Grid(bits, group, activations)
        layer.rounded()


def grid_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the rounded weights of all such layers by parameter name."""
    return {
        f"{name}.weight": layer.rounded()
        for name, layer in model.named_modules()
        if isinstance(layer, GridLinear)
    }
