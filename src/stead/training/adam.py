"""AdamW's arithmetic for one list of tensors, for the rules that use it for all or some weights.

Knows nothing about names, groups or files. Source: arXiv:1711.05101, algorithm 2.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stead.core.lazy import lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.optim import adamw as kernels
else:
    torch = lazy("torch", extra="train")
    kernels = lazy("torch.optim.adamw", extra="train")

EPSILON = 1e-8  # the default of every framework


def fresh(master: "Tensor") -> "dict[str, Tensor]":
    """Return zero moments and a step count; the count lies on the host unless the kernel is CUDA's."""
    host = master.device if master.device.type == "cuda" else torch.device("cpu")
    return {
        "step": torch.zeros((), dtype=torch.float32, device=host),
        "exp_avg": torch.zeros_like(master),
        "exp_avg_sq": torch.zeros_like(master),
    }


def update(
    weights: "list[Tensor]", gradients: "list[Tensor]", slots: "Sequence[dict[str, Tensor]]",
    lr: float, betas: tuple[float, float], decay: float,
) -> None:  # fmt: skip
    """Apply one step in place, by torch's fused kernel where there is one."""
    if not weights:
        return
    fused = all(w.device.type in ("cpu", "cuda") for w in weights)
    kernels.adamw(
        weights, gradients, [s["exp_avg"] for s in slots], [s["exp_avg_sq"] for s in slots], [],
        [s["step"] for s in slots], fused=fused, foreach=False if fused else None, amsgrad=False,
        beta1=betas[0], beta2=betas[1], lr=lr, weight_decay=decay, eps=EPSILON, maximize=False,
    )  # fmt: skip
