"""Rewards → advantages: how much better an answer, or a token, was than could be expected.

Knows nothing about models or texts. Legend: P prompts, G answers to each, A = P·G answers in order of
their prompts, L tokens of one answer.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from stead.core.lazy import lazy

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")

Array = Any  # Any: a float numpy array
Scale = Literal["group", "batch", "none"]
_TINY = 1e-4  # added to standard deviations, as TRL's GRPOTrainer does


def group_relative(rewards: Sequence[float], group: int, scale: Scale) -> Array:
    """Return rewards minus their group's mean, divided by a standard deviation.

    Shapes: rewards [A] → [A]. `scale`: the group's deviation, the batch's, or none. Deviations are
    of a sample (n − 1), 0 for a single answer. Source: arXiv:2402.03300 section 4.1.2; "none" is
    arXiv:2503.20783 eq. 3; "batch" is arXiv:2508.08221.
    """
    r_PG = np.asarray(rewards, dtype=np.float64).reshape(-1, group)
    centered = r_PG - r_PG.mean(axis=1, keepdims=True)
    if scale == "group":
        centered = centered / (_deviation(r_PG, 1)[:, None] + _TINY)
    elif scale == "batch":
        centered = centered / (_deviation(r_PG.reshape(1, -1), 1) + _TINY)
    return centered.reshape(-1)


def leave_one_out(rewards: Sequence[float], group: int) -> Array:
    """Return each reward minus the mean of the other answers to its prompt.

    Shapes: [A] → [A]; 0 for a group of one. Source: arXiv:2402.14740 eq. 8.
    """
    r_PG = np.asarray(rewards, dtype=np.float64).reshape(-1, group)
    if group == 1:
        return np.zeros(len(r_PG))
    others = (r_PG.sum(axis=1, keepdims=True) - r_PG) / (group - 1)
    return (r_PG - others).reshape(-1)


def generalized(rewards: Array, values: Array, gamma: float, lam: float) -> tuple[Array, Array]:
    """Return advantages and returns of one answer's tokens; nothing follows the last one.

    Shapes: rewards, values [L] → [L], [L]. δ_t = r_t + γ·V_{t+1} − V_t, A_t = δ_t + γλ·A_{t+1}.
    Source: arXiv:1506.02438 eq. 16.
    """
    found = np.zeros(len(rewards), dtype=np.float64)
    later, following = 0.0, 0.0
    for t in range(len(rewards) - 1, -1, -1):
        delta = float(rewards[t]) + gamma * following - float(values[t])
        later = delta + gamma * lam * later
        found[t] = later
        following = float(values[t])
    return found, found + np.asarray(values, dtype=np.float64)


def whiten(values: Array, *, shift: bool = True) -> Array:
    """Return values with mean 0 (or their own, without `shift`) and variance 1. Shapes: [N] → [N]."""
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers):
        return numbers
    mean = numbers.mean()
    variance = numbers.var(ddof=1) if len(numbers) > 1 else 0.0
    white = (numbers - mean) / np.sqrt(variance + 1e-8)
    return white if shift else white + mean


def is_flat(rewards: Sequence[float], group: int) -> Array:
    """Say which groups have one reward for all answers, so that nothing can be learnt from them."""
    r_PG = np.asarray(rewards, dtype=np.float64).reshape(-1, group)
    return np.ptp(r_PG, axis=1) == 0


def _deviation(rewards: Array, axis: int) -> Array:
    if rewards.shape[axis] < 2:
        return np.zeros(rewards.shape[0])
    return rewards.std(axis=axis, ddof=1)
