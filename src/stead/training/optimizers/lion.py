"""Lion: every weight moves by the same amount, in the direction of a smoothed gradient's sign.

Knows nothing about models. Source: arXiv:2302.06675, algorithm 2. Its authors take a rate 3 to 10
times smaller than AdamW's, and a decay as much larger.
"""

from typing import TYPE_CHECKING

from stead.core.lazy import lazy
from stead.training.optimizer import Group, Optimizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch", extra="train")


class Lion(Optimizer):
    """One moment: half of AdamW's state."""

    by_element = True
    state_bytes = 4.0
    lr_factor = 0.3  # 3 to 10 times below AdamW's, section 5
    betas = (0.9, 0.99)  # the paper's, section 4.1

    def fresh(self, name: str, master: "Tensor") -> "dict[str, Tensor]":
        """Return a zero moment."""
        return {"exp_avg": torch.zeros_like(master)}

    def update(self, group: Group, gradients: "list[Tensor]", lr: float) -> None:
        """Apply one step: u = sign(β₁·m + (1−β₁)·g), w = w − lr·(u + decay·w), m = β₂·m + (1−β₂)·g."""
        weights, moments = self.weights_of(group), self.slot(group, "exp_avg")
        direction = torch._foreach_mul(moments, self.beta1)
        torch._foreach_add_(direction, gradients, alpha=1.0 - self.beta1)
        torch._foreach_sign_(direction)
        if group.decay:
            torch._foreach_mul_(weights, 1.0 - lr * group.decay)
        torch._foreach_add_(weights, direction, alpha=-lr)
        torch._foreach_mul_(moments, self.beta2)
        torch._foreach_add_(moments, gradients, alpha=1.0 - self.beta2)
