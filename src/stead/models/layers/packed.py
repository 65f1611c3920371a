"""Linear layers that share an input, held as one matrix with their low-rank parts folded in.

Knows nothing about attention or norms. Legend: T tokens, K inputs, N outputs of all layers together,
P columns of the low-rank part (the ranks added up, padded).

The matrix is W' = [W | s·B] with shape [N, K+P] and the input x' = [x | drop(x)·Aᵀ] with shape
[T, K+P], so one product gives x·Wᵀ + s·drop(x)·Aᵀ·Bᵀ, and one product with the gradient gives both
dx and the gradient of drop(x)·Aᵀ. The layers' own weights become views of W'.
"""

import threading
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from stead.models import products
from stead.models.layers.lowrank import LowRankLinear, current_draw, keep_mask

_ALIGN = 32  # columns: keeps rows of W' on cache lines in bf16

Slot: TypeAlias = "Tensor | None"
SLOTS = 4  # tensors per layer that autograd must know: weight, bias, A, B


def packable(layer: nn.Module) -> bool:
    """Say whether a layer computes just x·Wᵀ + b, with or without our low-rank product."""
    return type(layer) in (nn.Linear, LowRankLinear) and "forward" not in layer.__dict__


class Packed:
    """The layers `linears`, called with one input. Forward calls from several threads are allowed."""

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        self.linears = list(linears)
        self.K = linears[0].in_features
        self._ranks = [m.lora_A.shape[0] if isinstance(m, LowRankLinear) else 0 for m in linears]
        self.rank = sum(self._ranks)
        self.P = -(-self.rank // _ALIGN) * _ALIGN
        first = linears[0].weight
        self.N = sum(m.out_features for m in linears)
        self.matrix = torch.zeros(self.N, self.K + self.P, dtype=first.dtype, device=first.device)
        self.low = torch.zeros(self.P, self.K, dtype=first.dtype, device=first.device)  # all A
        self.is_biased = any(m.bias is not None for m in linears)
        self._versions: tuple[int, ...] = ()
        self._lock = threading.Lock()
        self._adopt()

    def _adopt(self) -> None:
        """Move the layers' weights into the matrix and make them views of it."""
        row = 0
        for linear in self.linears:
            view = self.matrix[row : row + linear.out_features, : self.K]
            view.copy_(linear.weight.detach())
            linear.weight.data = view
            row += linear.out_features

    def release(self) -> None:
        """Give each layer its own weight again."""
        for linear in self.linears:
            linear.weight.data = linear.weight.detach().clone(memory_format=torch.contiguous_format)

    def tensors(self) -> list[Slot]:
        """List what autograd must know, SLOTS per layer."""
        found: list[Slot] = []
        for m in self.linears:
            low = isinstance(m, LowRankLinear)
            found += [m.weight, m.bias, m.lora_A if low else None, m.lora_B if low else None]
        return found

    def refresh(self) -> None:
        """Copy A and s·B into the compute buffers when the optimizer has changed them."""
        if self.P == 0:
            return
        low = [m for m in self.linears if isinstance(m, LowRankLinear)]
        versions = tuple(v for m in low for v in (m.lora_A._version, m.lora_B._version))
        if versions == self._versions:
            return
        with self._lock, torch.no_grad():
            row = column = 0
            for m, r in zip(self.linears, self._ranks, strict=True):
                if r and isinstance(m, LowRankLinear):
                    part = slice(self.K + column, self.K + column + r)
                    self.matrix[row : row + m.out_features, part] = m.lora_B * m.lora.scaling
                    self.low[column : column + r] = m.lora_A
                row += m.out_features
                column += r
            self._versions = versions

    def input(self, like: Tensor) -> Tensor:
        """Return an uninitialized x' for as many tokens as `like` has; the caller fills [:, :K]."""
        return torch.empty(like.shape[0], self.K + self.P, dtype=like.dtype, device=like.device)

    def mask(self, x: Tensor) -> Tensor | None:
        """Return this step's dropout mask of the input, or None. Shapes: as x."""
        for m in self.linears:
            if isinstance(m, LowRankLinear):
                return keep_mask(x, m.lora.dropout, m.lora.place)
        return None

    def forward(self, wide: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Multiply x', filling its low-rank columns first; return the product and the mask used.

        Shapes: wide [T, K+P], residual [T, N] → [T, N].
        """
        mask = None
        if self.P:
            self.refresh()
            x = wide[:, : self.K]
            if current_draw().plain:
                wide[:, self.K :] = 0
            else:
                mask = self.mask(x)
                products.mm(x if mask is None else x * mask, self.low.t(), wide[:, self.K :])
        if residual is None:
            out = products.mm(wide, self.matrix.t())
        else:
            out = products.addmm(residual, wide, self.matrix.t())
        if self.is_biased:
            self.add_bias(out)
        return out, mask

    def add_bias(self, out: Tensor) -> None:
        """Add the layers' biases to a product in place. Shapes: [T, N]."""
        row = 0
        for m in self.linears:
            if m.bias is not None:
                out[:, row : row + m.out_features] += m.bias
            row += m.out_features

    def backward(
        self,
        grad: Tensor,
        wide: Tensor,
        mask: Tensor | None,
        needs: Sequence[bool],
        *,
        into_x: bool,
    ) -> tuple[Tensor | None, list[Slot]]:
        """Return the gradient of x and those of `tensors()`.

        Shapes: grad [T, N], wide [T, K+P] → [T, K] (a view), and each tensor's own.
        """
        x = wide[:, : self.K]
        found: list[Slot] = [None] * len(needs)
        dx = None
        if into_x or self.P:
            whole = products.mm(grad, self.matrix)
            dx = whole[:, : self.K]
            if self.P:
                d_low = whole[:, self.K :]
                dropped = x if mask is None else x * mask
                self._low_gradients(grad, wide[:, self.K :], d_low, dropped, needs, found)
                if into_x and mask is None:
                    products.addmm_(dx, d_low, self.low)
                elif into_x:
                    dx.addcmul_(products.mm(d_low, self.low), mask)
        self._dense_gradients(grad, x, needs, found)
        return dx, found

    def _low_gradients(
        self, grad: Tensor, low: Tensor, d_low: Tensor, x: Tensor, needs: Sequence[bool],
        found: list[Slot],
    ) -> None:  # fmt: skip
        d_up = products.mm(low.t(), grad)  # [P, N]; only its diagonal blocks are used
        d_down = products.mm(d_low.t(), x)  # [P, K]
        row = column = 0
        for i, (m, r) in enumerate(zip(self.linears, self._ranks, strict=True)):
            if r and isinstance(m, LowRankLinear):
                part = slice(column, column + r)
                if needs[i * SLOTS + 2]:
                    found[i * SLOTS + 2] = d_down[part].float()
                if needs[i * SLOTS + 3]:
                    block = d_up[part, row : row + m.out_features].t().float().contiguous()
                    found[i * SLOTS + 3] = block.mul_(m.lora.scaling)
            row += m.out_features
            column += r

    def _dense_gradients(
        self, grad: Tensor, x: Tensor, needs: Sequence[bool], found: list[Slot]
    ) -> None:
        whole: Any = None  # Any: Tensor, made when the first layer wants it
        row = 0
        for i, m in enumerate(self.linears):
            rows = slice(row, row + m.out_features)
            if needs[i * SLOTS]:
                whole = products.mm(grad.t(), x) if whole is None else whole
                found[i * SLOTS] = whole[rows]
            if needs[i * SLOTS + 1]:
                found[i * SLOTS + 1] = grad[:, rows].sum(0)
            row += m.out_features
