"""SGD with momentum and decoupled decay: one moment, no scaling by the gradient's size.

Knows nothing about models. Source: arXiv:1711.05101, algorithm 1 (SGDW); without decay it is
torch.optim.SGD.
"""

from typing import TYPE_CHECKING

from stead.core.lazy import lazy
from stead.training.optimizer import Group, Optimizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch", extra="train")


class SGD(Optimizer):
    """Plain steps with momentum.

    Weights follow a running sum of gradients.
    """

    by_element = True
    state_bytes = 4.0
    lr_factor = 100.0  # gradients of a clipped norm, not steps of size one; docs/log.md

    def fresh(self, name: str, master: "Tensor") -> "dict[str, Tensor]":
        """Return an empty running sum."""
        return {"momentum_buffer": torch.zeros_like(master)}

    def update(self, group: Group, gradients: "list[Tensor]", lr: float) -> None:
        """Apply one step: b = μ·b + g, w = (1 − lr·decay)·w − lr·b."""
        weights, sums = self.weights_of(group), self.slot(group, "momentum_buffer")
        torch._foreach_mul_(sums, self.mu)
        torch._foreach_add_(sums, gradients)
        if group.decay:
            torch._foreach_mul_(weights, 1.0 - lr * group.decay)
        torch._foreach_add_(weights, sums, alpha=-lr)
