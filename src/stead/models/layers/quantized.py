"""Frozen linear layers kept in 4 or 8 bits, with and without a trained low-rank product beside them.

Knows nothing about how numbers are rounded (`models/layers/quantize`) or who asked. The weight is restored
for each product and dropped again, in the backward pass too, so that only the codes stay in memory.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stead.core.errors import ModelError
from stead.models import products
from stead.models.layers import quantize as rounding
from stead.models.layers.dora import DoraLinear
from stead.models.layers.lowrank import LowRankLinear, largest_directions


class Product(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """x·Wᵀ for a weight that exists only while it is used."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: "QuantizedWeight") -> Tensor:
        """Shapes: [..., K] → [..., N]."""
        ctx.layer = layer
        return products.linear(x, layer.dense(x.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:
        """Return the gradient of x."""
        weight = ctx.layer.dense(grad.dtype)
        return products.mm(grad.reshape(-1, grad.shape[-1]), weight).view(
            *grad.shape[:-1], -1
        ), None


class QuantizedWeight(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """What quantized layers share: codes instead of a weight. A mix-in before a kind of linear layer."""

    kind: str  # nf4, fp4 or int8
    shape: torch.Size
    former: torch.dtype  # of the weight that was rounded
    codes: Tensor
    scales: Tensor
    error: tuple[Tensor, Tensor]

    def hold(self, kind: str, double: bool, rank: int = 0) -> None:
        """Round the weight and let go of it. `double`: 4-bit scales are rounded, too.

        `rank`: remember so many directions of the rounding error, for `begin`.
        """
        weight = self.weight.detach()
        self.kind, self.shape, self.former = kind, weight.shape, weight.dtype
        del self.weight
        whole = rounding.quantize_rows if kind == "int8" else None
        codes, scales = whole(weight) if whole else rounding.quantize_4bit(weight, kind)
        self.register_buffer("codes", codes, persistent=False)
        if double and kind != "int8":
            scales, largest, mean = rounding.quantize_scales(scales)
            self.register_buffer("scale_steps", largest, persistent=False)
            self.register_buffer("scale_mean", mean, persistent=False)
        self.register_buffer("scales", scales, persistent=False)
        if rank:
            self.error = largest_directions(weight.float() - self.dense(torch.float32), rank)

    @property
    def number(self) -> torch.dtype:
        """The type the frozen weight is multiplied in."""
        return self.former

    def dense(self, dtype: torch.dtype) -> Tensor:
        """Return the weight that the codes stand for. Shapes: [N, K]."""
        scales = self.scales
        if scales.dtype == torch.uint8:
            scales = rounding.dequantize_scales(scales, self.scale_steps, self.scale_mean)
        if self.kind == "int8":
            return rounding.dequantize_rows(self.codes, scales, dtype)
        return rounding.dequantize_4bit(self.codes, scales, self.kind, self.shape, dtype)

    def base(self, x: Tensor) -> Tensor:
        """Apply the frozen layer. Shapes: [..., K] → [..., N]."""
        out: Tensor = Product.apply(x, self)
        return out if self.bias is None else out + self.bias


class QuantizedLinear(QuantizedWeight, nn.Linear):  # type: ignore[misc]  # torch is untyped here
    """A frozen layer without anything beside it."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer. Shapes: [..., K] → [..., N]."""
        return self.base(input)


class QuantizedLowRank(QuantizedWeight, LowRankLinear):
    """A quantized layer with a low-rank product."""

    def begin(self, rank: int, init: str, generator: torch.Generator) -> None:
        """Make the new weights; "loftq" begins with what rounding lost (arXiv:2310.08659, one round)."""
        if init != "loftq":
            super().begin(rank, init, generator)
            return
        A, B = self.error
        del self.error
        self.lora_A, self.lora_B = nn.Parameter(A), nn.Parameter(B / self.lora.scaling)


class QuantizedDora(QuantizedWeight, DoraLinear):
    """A quantized layer with a low-rank product and trained row lengths."""

    def row_squares(self) -> Tensor:
        """Return the squared length of each row of W, in float32. Shapes: [N]."""
        return self.dense(torch.float32).square().sum(1)


def quantize(
    model: nn.Module, names: list[str], *, kind: str, double: bool, errors: Mapping[str, int]
) -> None:
    """Keep the weights of the named layers as codes. Equal weights give equal codes.

    `errors` names the layers, with a rank, that begin with their rounding error ("loftq").
    Raises: ModelError("already-adapted") for a layer that is no plain linear layer.
    """
    for name in names:
        layer = model.get_submodule(name)
        if type(layer) is not nn.Linear:
            raise ModelError(
                "already-adapted",
                f"the layer {name!r} is a {type(layer).__name__}, not a plain one",
            )
        layer.__class__ = QuantizedLinear
        layer.hold(kind, double, errors.get(name, 0))
