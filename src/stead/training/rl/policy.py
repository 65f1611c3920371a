"""What a policy-gradient step minimizes, token by token: clipped ratios and distances to a reference.

Knows nothing about models, rewards or batches. Legend: N tokens, A answers. All log-probabilities are
natural logs of the tokens that were drawn.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stead.core.lazy import lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch", extra="train")

Estimator = Literal["k1", "k2", "k3"]


def divergence(new: "Tensor", reference: "Tensor", estimator: Estimator) -> "Tensor":
    """Estimate KL(new ‖ reference) from tokens drawn from `new`. Shapes: [N], [N] → [N].

    With d = new − reference: k1 = d, k2 = d²/2, k3 = exp(−d) + d − 1. k1 and k3 are unbiased, k2
    and k3 never negative. As a loss only k2 has the gradient of the divergence itself; k3 has that
    of KL(reference ‖ new), and k1 none. Source: J. Schulman, "Approximating KL divergence" (2020);
    gradients: arXiv:2506.09477 section 3.
    """
    d = new - reference
    if estimator == "k1":
        return d
    if estimator == "k2":
        return 0.5 * d.square()
    return torch.expm1(-d) + d


@dataclass(frozen=True, slots=True)
class Clip:
    """How far a ratio may go before it earns nothing: [1 − low, 1 + high], and never above `most`."""

    low: float
    high: float
    most: float | None = None


def clipped(log_ratio: "Tensor", advantage: "Tensor", clip: Clip) -> "tuple[Tensor, Tensor]":
    """Return the loss of each token (or answer), and where clipping took its gradient away.

    Shapes: [N], [N] → [N], bool [N]. Source: arXiv:1707.06347 eq. 7; a higher upper bound:
    arXiv:2503.14476 section 3.1; `most`: the two-sided clip of arXiv:2505.07291 section 3.4.
    """
    ratio = log_ratio.exp()
    bounded = ratio.clamp(1 - clip.low, 1 + clip.high)
    free = ratio if clip.most is None else ratio.clamp(max=clip.most)
    loss = -torch.minimum(free * advantage, bounded * advantage)
    outside = (ratio < 1 - clip.low) & (advantage < 0) | (ratio > 1 + clip.high) & (advantage > 0)
    return loss, outside


def by_answer(values: "Tensor", answer: "Tensor", count: int) -> "Tensor":
    """Add up the tokens of each answer. Shapes: values [N], answer int64 [N] → [A]."""
    return values.new_zeros(count).index_add(0, answer, values)


def clipped_value_loss(
    value: "Tensor", old: "Tensor", target: "Tensor", bound: float
) -> "tuple[Tensor, Tensor]":
    """Return half the squared error of each value, kept near the old value, and where it was clipped.

    Shapes: [N] each → [N], bool [N]. Source: the PPO implementation of openai/baselines, `model.py`.
    """
    near = old + (value - old).clamp(-bound, bound)
    plain, kept = (value - target).square(), (near - target).square()
    return 0.5 * torch.maximum(plain, kept), kept > plain
