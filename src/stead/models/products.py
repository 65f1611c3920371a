"""Matrix products, in float32 and rounded once where a processor cannot multiply 16-bit numbers.

Knows nothing about layers. Without oneDNN's 16-bit kernels (x86 below AVX-512) torch takes eight times as
long for a product of bf16 as for one of float32 (docs/log.md); widening both sides first costs a
sixtieth of that. Everywhere else these are torch's own functions. Legend: M rows, K summed up, N columns.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from stead.models.scratch import scratch

_NUMBERS = 1 << 22  # float32 numbers at once of both sides and the result


def narrow(x: Tensor) -> bool:
    """Say whether products of x's number type are computed in float32 here."""
    return x.device.type == "cpu" and not _multiplies(x.dtype)


@lru_cache(maxsize=8)
def _multiplies(dtype: torch.dtype) -> bool:
    """Say whether this processor multiplies such numbers at full speed."""
    if not torch.backends.mkldnn.is_available():
        return True  # another library, of which nothing was measured
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return True


def mm(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Return a·b, in `out` if given. Shapes: [M, K], [K, N] → [M, N]."""
    if not narrow(a):
        return torch.mm(a, b) if out is None else torch.mm(a, b, out=out)
    found = a.new_empty(a.shape[0], b.shape[1]) if out is None else out
    _multiply(a, b, found, add=False)
    return found


def addmm_(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add a·b to `total` in place, rounded once. Shapes: [M, N], [M, K], [K, N] → [M, N]."""
    if not narrow(a):
        return total.addmm_(a, b)
    _multiply(a, b, total, add=True)
    return total


def addmm(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return total + a·b, rounded once. Shapes: [M, N], [M, K], [K, N] → [M, N]."""
    return torch.addmm(total, a, b) if not narrow(a) else addmm_(total.clone(), a, b)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x·Wᵀ + b, with a gradient. Shapes: [..., K], [N, K], [N] → [..., N]."""
    if not narrow(x):
        return nn.functional.linear(x, weight, bias)
    found: Tensor = _Linear.apply(x, weight, bias)
    return found


class _Linear(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """x·Wᵀ + b by `mm`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Shapes: [..., K], [N, K], [N] → [..., N]."""
        wants_x, wants_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if wants_weight else None, weight if wants_x else None)
        ctx.shape = x.shape
        out = mm(x.reshape(-1, x.shape[-1]), weight.t())
        return (out if bias is None else out.add_(bias)).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, W and b."""
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            mm(rows, weight).view(ctx.shape) if wants_x else None,
            mm(rows.t(), x.reshape(-1, x.shape[-1])) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )


def _multiply(a: Tensor, b: Tensor, out: Tensor, *, add: bool) -> None:
    """Write a·b into `out`, or add it, rounded once, piece by piece."""
    M, K, N = a.shape[0], a.shape[1], b.shape[1]
    m, k, n = _pieces(M, K, N)
    for rows in _slices(M, m):
        for columns in _slices(N, n):
            into = out[rows, columns]
            total = scratch("product", into.shape, torch.float32, a.device)
            for part in _slices(K, k):
                left, right = _wide("left", a[rows, part]), _wide("right", b[part, columns])
                if part.start == 0:
                    torch.mm(left, right, out=total)
                else:
                    total.addmm_(left, right)
            into.copy_(total.add_(into) if add else total)


def _pieces(M: int, K: int, N: int) -> tuple[int, int, int]:
    """Halve the longest side until all three matrices together have few enough numbers."""
    sizes = [M, K, N]
    while sizes[0] * sizes[1] + sizes[1] * sizes[2] + sizes[0] * sizes[2] > _NUMBERS:
        longest = sizes.index(max(sizes))
        sizes[longest] = -(-sizes[longest] // 2)
    return sizes[0], sizes[1], sizes[2]


def _slices(length: int, step: int) -> Iterator[slice]:
    for low in range(0, length, max(1, step)):
        yield slice(low, low + step)


def _wide(side: str, x: Tensor) -> Tensor:
    """Copy to float32, in this thread's memory for one side, lying as `x` lies. Shapes: as x."""
    lies_turned = x.stride(0) == 1 and x.stride(1) != 1
    source = x.t() if lies_turned else x
    copied = scratch(side, source.shape, torch.float32, x.device).copy_(source)
    return copied.t() if lies_turned else copied
