"""Muon: matrices move by their momentum made orthogonal; everything else by AdamW.

Knows nothing about models beyond the names of embeddings and output layers. Source: Jordan et al.,
kellerjordan.github.io/posts/muon (Newton–Schulz with tuned coefficients); the step's size as in
arXiv:2502.16982, eq. 4, so that AdamW's learning rates fit.
"""

from typing import TYPE_CHECKING

from stead.core.lazy import lazy
from stead.training import adam
from stead.training.optimizer import Group, Optimizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch", extra="train")

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_SMALLEST_NORM = 1e-7
_AS_ADAMW = 0.2  # the root mean square of AdamW's steps, arXiv:2502.16982, section 2.2
_TABLES = ("embed", "lm_head", "wte", "wpe", "output_layer")  # rows are words, not a linear map


class Muon(Optimizer):
    """Orthogonal steps for matrices; often fewer steps for full training.

    One moment for matrices, two for the rest; Newton–Schulz runs in bf16 as its authors run it.
    """

    state_bytes = 4.0
    table_bytes = 8.0
    momentum = 0.95

    def fresh(self, name: str, master: "Tensor") -> "dict[str, Tensor]":
        """Return zero moments."""
        if _is_matrix(name, master):
            return {"momentum_buffer": torch.zeros_like(master)}
        return adam.fresh(master)

    def update(self, group: Group, gradients: "list[Tensor]", lr: float) -> None:
        """Apply one step to each matrix, then AdamW's to the others."""
        rest: list[tuple[str, Tensor]] = []
        for name, gradient in zip(group.names, gradients, strict=True):
            weight = self.masters[name]
            if not _is_matrix(name, weight):
                rest.append((name, gradient))
                continue
            moment = self.slots[name]["momentum_buffer"].lerp_(gradient, 1.0 - self.mu)
            change = orthogonal(gradient.lerp(moment, self.mu))
            size = _AS_ADAMW * max(weight.shape) ** 0.5
            weight.mul_(1.0 - lr * group.decay).add_(change, alpha=-lr * size)
        names = [n for n, _ in rest]
        adam.update(
            [self.masters[n] for n in names], [g for _, g in rest], [self.slots[n] for n in names],
            lr, (self.beta1, self.beta2), group.decay,
        )  # fmt: skip


def _is_matrix(name: str, weight: "Tensor") -> bool:
    return weight.ndim == 2 and not any(part in name for part in _TABLES)


def orthogonal(matrix: "Tensor") -> "Tensor":
    """Return about U·Vᵀ of the matrix's singular value decomposition, in bf16. Shapes: [A, B] → [A, B]."""
    a, b, c = _COEFFICIENTS
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=_SMALLEST_NORM)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
