"""The three products of a fused decoder layer for a few rows: heads, the rest after attention, one product.

Knows nothing about caches or sampling. Legend: T rows, K inputs, N outputs, R rank, E hidden size,
H query heads, K' key heads, D head size. Rows may have low-rank parts of their own (`Extra`): several
adapters on one base in one batch (arXiv:2311.03285 section 5, grouped by adapter).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from stead.models import products
from stead.models.fused import FusedLayer, rms_norm, rotate_
from stead.models.layers.lowrank import current_draw
from stead.models.layers.packed import Packed

if TYPE_CHECKING:
    from torch import Tensor

FEW = 256  # rows up to which W·xᵀ is faster than x·Wᵀ: 1.5 to 2.5 times for 8 to 64 rows
Extra = Sequence[tuple[slice, "Tensor", "Tensor"]]  # rows, A [R, K], scaled B [N, R]
Times = Callable[["Tensor", "Tensor"], "Tensor"]  # x [T, K], W [N, K] → x·Wᵀ
Product = Callable[[Packed, "Tensor"], "Tensor"]  # x' [T, K+P] → [T, N]


def rows_by_matrix(x: "Tensor", matrix_NK: "Tensor") -> "Tensor":
    """Multiply few rows by a matrix as it lies in memory. Shapes: x [T, K] → [T, N].

    One row is a matrix by a vector, which reads memory at its full speed; two rows take twice that.
    """
    if len(x) == 1:
        return torch.mv(matrix_NK, x[0])[None]
    return products.mm(matrix_NK, x.t()).t().contiguous()


def product(
    packed: Packed, wide: "Tensor", extra: Extra = (), times: Times = rows_by_matrix
) -> "Tensor":
    """Multiply x' by W' as `Packed.forward` does; few rows take another order of the two.

    Shapes: wide [T, K+P] → [T, N]. W'·x'ᵀ reads W' as it lies; x'·W'ᵀ makes oneDNN copy it first.
    """
    if wide.shape[0] > FEW:
        return packed.forward(wide)[0]
    if packed.P:
        packed.refresh()
        low_PT = products.mm(packed.low, wide[:, : packed.K].t())
        wide[:, packed.K :] = 0 if current_draw().plain else low_PT.t()
    out = times(wide, packed.matrix)
    for rows, low_RK, up_NR in extra:
        part_KT = wide[rows, : packed.K].t()
        out[rows] += products.mm(up_NR, products.mm(low_RK, part_KT)).t()
    if packed.is_biased:
        packed.add_bias(out)
    return out


def turned_heads(
    layer: Any, fused: FusedLayer, x: "Tensor", cos: "Tensor", sin: "Tensor",
    product: Product = product,
) -> "Tensor":  # fmt: skip
    """Return queries and keys, turned, and values. Shapes: x [T, E] → [T, H+2K', D]."""
    norm = layer.input_layernorm
    wide = fused.qkv.input(x)
    normed_(x, norm, wide[:, : fused.qkv.K])
    heads = product(fused.qkv, wide).view(x.shape[0], -1, fused.D)
    rotate_(heads[:, : fused.heads + fused.key_heads], cos, sin)
    return heads


def finish(
    layer: Any, fused: FusedLayer, mixed: "Tensor", x: "Tensor", product: Product = product
) -> "Tensor":
    """Do the rest of a layer after attention. Shapes: mixed [T, H·D (+ P)], x [T, E] → [T, E]."""
    x = product(fused.out, mixed).add_(x)
    norm = layer.post_attention_layernorm
    wide = fused.up.input(x)
    normed_(x, norm, wide[:, : fused.up.K])
    gate, up = product(fused.up, wide).chunk(2, dim=1)
    inner = fused.down.input(x)
    torch.mul(torch.nn.functional.silu(gate), up, out=inner[:, : fused.down.K])
    return product(fused.down, inner).add_(x)


def normed_(x: "Tensor", norm: Any, out: "Tensor") -> None:
    """Do what `fused.rms_norm` does, in fewer operations: for few rows each one costs more than it does.

    Shapes: x and out [T, E]. Any: a transformers RMSNorm.
    """
    if x.dtype != torch.float32:
        rms_norm(x, norm.weight, norm.variance_epsilon, out)
        return
    inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
    inverse = inverse.div_(x.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
    torch.mul(x, inverse, out=out)
    out.mul_(norm.weight)
