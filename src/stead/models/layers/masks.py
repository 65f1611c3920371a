"""Which weights to keep: by size, by size times activation, n of m, or whole heads and neurons.

Knows nothing about training. Light: torch is used when called. Legend: N outputs, K inputs, F neurons.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stead.core.lazy import lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch", extra="train")


def cubic(progress: float, target: float) -> float:
    """Return the sparsity at `progress` (0 to 1) of a gradual schedule: fast first, slow at the end.

    Source: arXiv:1710.01878 eq. 1, from 0.
    """
    left = 1.0 - min(1.0, max(0.0, progress))
    return target * (1.0 - left**3)


def keep_largest(scores: "Tensor", sparsity: float) -> "Tensor":
    """Return a mask that leaves out the smallest share, to the number. Shapes: any → bool of it."""
    flat = scores.reshape(-1)
    count = round(sparsity * flat.numel())
    mask = torch.ones(flat.shape, dtype=torch.bool, device=flat.device)
    if count:
        mask[flat.topk(count, largest=False, sorted=False).indices] = False
    return mask.view(scores.shape)


def keep_largest_of_rows(scores: "Tensor", sparsity: float) -> "Tensor":
    """Return a mask that leaves out the smallest share of each row. Shapes: [N, K] → bool [N, K]."""
    count = round(sparsity * scores.shape[-1])
    mask = torch.ones(scores.shape, dtype=torch.bool, device=scores.device)
    if count:
        mask.scatter_(-1, scores.topk(count, -1, largest=False, sorted=False).indices, False)
    return mask


def keep_largest_together(scores: "Mapping[str, Tensor]", sparsity: float) -> "dict[str, Tensor]":
    """Return masks that leave out the smallest share of all tensors together."""
    whole = keep_largest(torch.cat([s.reshape(-1) for s in scores.values()]), sparsity)
    sizes = [s.numel() for s in scores.values()]
    return {
        name: part.view(scores[name].shape)
        for name, part in zip(scores, whole.split(sizes), strict=True)
    }


def keep_n_of_m(scores: "Tensor", n: int, m: int) -> "Tensor":
    """Return a mask that keeps the n largest of every m along the rows. Shapes: [N, K] → bool [N, K].

    2 of 4 is what sparse tensor cores multiply (arXiv:2104.08378 §2).
    """
    parts = scores.view(scores.shape[0], -1, m)
    mask = torch.zeros(parts.shape, dtype=torch.bool, device=scores.device)
    return mask.scatter_(-1, parts.topk(n, -1).indices, True).view(scores.shape)


def wanda(weight: "Tensor", squares: "Tensor") -> "Tensor":
    """Return |W|·‖x‖: what a weight adds to its output. Shapes: [N, K], [K] → [N, K].

    Source: arXiv:2306.11695 eq. 1; scores are compared within an output's row (§3).
    """
    return weight.abs().float() * squares.sqrt().float()[None]


def sparsity_of(masks: "Mapping[str, Tensor]") -> float:
    """Return the share of weights left out."""
    total = sum(m.numel() for m in masks.values())
    return sum(int((~m).sum()) for m in masks.values()) / total if total else 0.0
