"""Adafactor: the second moment of a matrix kept as one row and one column.

Knows nothing about models. Source: arXiv:1804.04235, algorithms 4 and 6 (update clipping, β₂ that
grows with the step), with the rate given from outside and no first moment.
"""

from typing import TYPE_CHECKING

from stead.core.lazy import lazy
from stead.training.optimizer import Group, Optimizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch", extra="train")

_TINY = 1e-30  # ε₁, section 6
_DECAY_RATE = -0.8  # β₂ at step t is 1 − t^−0.8, section 7.2
_LARGEST_RMS = 1.0  # d, section 6


class Adafactor(Optimizer):
    """Almost no state: the rows and columns of matrices, the whole only for vectors."""

    state_bytes = 0.1

    def fresh(self, name: str, master: "Tensor") -> "dict[str, Tensor]":
        """Return zero moments and a step count."""
        step = {"step": torch.zeros((), dtype=torch.float32)}
        if master.ndim < 2:
            return step | {"exp_avg_sq": torch.zeros_like(master)}
        row = master.new_zeros(master.shape[:-1])
        column = master.new_zeros(master.shape[:-2] + master.shape[-1:])
        return step | {"exp_avg_sq_row": row, "exp_avg_sq_col": column}

    def update(self, group: Group, gradients: "list[Tensor]", lr: float) -> None:
        """Apply one step to each weight."""
        for name, gradient in zip(group.names, gradients, strict=True):
            slots, weight = self.slots[name], self.masters[name]
            slots["step"] += 1
            beta = 1.0 - float(slots["step"]) ** _DECAY_RATE
            change = _scaled(gradient, slots, beta)
            rms = change.norm(2) / change.numel() ** 0.5
            change.div_((rms / _LARGEST_RMS).clamp_(min=1.0)).mul_(lr)
            if group.decay:
                weight.add_(weight, alpha=-group.decay * lr)
            weight.sub_(change)


def _scaled(gradient: "Tensor", slots: "dict[str, Tensor]", beta: float) -> "Tensor":
    """Return the gradient over the root of its (factored) second moment, which is brought up to date."""
    square = gradient.square() + _TINY
    if "exp_avg_sq" in slots:
        whole = slots["exp_avg_sq"].mul_(beta).add_(square, alpha=1.0 - beta)
        return whole.rsqrt().mul_(gradient)
    row = slots["exp_avg_sq_row"].mul_(beta).add_(square.mean(dim=-1), alpha=1.0 - beta)
    column = slots["exp_avg_sq_col"].mul_(beta).add_(square.mean(dim=-2), alpha=1.0 - beta)
    by_row = (row / row.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1)
    return torch.mul(by_row, column.unsqueeze(-2).rsqrt()).mul_(gradient)
