"""exp(logits) of a few rows and their sums, in memory that stays in a core's cache.

Knows nothing about labels or losses. Rows are only shifted by their highest logit where they must be:
finding it costs as much as adding the exponentials up. Legend: n rows, V vocabulary.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from stead.models.scratch import scratch

_CACHED_NUMBERS = 1 << 18  # float32 numbers of a block: twice 1 MiB, stays in the cores' caches
_LEAST, _MOST = 1e-25, 1e30  # sums whose parts are exact enough, and whose inverse is normal


class Exponentials(NamedTuple):
    """exp(x − shift) [n, V], their sums [n, 1], the shift [n, 1], and x = logits / temperature."""

    values: Tensor
    sums: Tensor
    shift: Tensor
    x: Tensor


def blocks(logits_NV: Tensor) -> Iterator[slice]:
    """Cut rows into blocks that `exponentials` should get at once."""
    N, V = logits_NV.shape
    step = max(1, _CACHED_NUMBERS // V) if logits_NV.device.type == "cpu" else max(1, N)
    for start in range(0, N, step):
        yield slice(start, start + step)


def exponentials(logits_nV: Tensor, temperature: float = 1.0) -> Exponentials:
    """Return exponentials of a few rows, in float32; the thread's next call overwrites them.

    A row's numbers do not depend on the others.
    """
    shape, device = logits_nV.shape, logits_nV.device
    x = scratch("wide", shape, torch.float32, device).copy_(logits_nV)
    if temperature != 1.0:
        x /= temperature
    values = scratch("exponentials", shape, torch.float32, device)
    sums = torch.exp(x, out=values).sum(1, keepdim=True)
    # Elsewhere than on a CPU asking for a number would wait for the device.
    if device.type == "cpu" and all(_LEAST < s[0] < _MOST for s in sums.tolist()):
        return Exponentials(values, sums, torch.zeros_like(sums), x)
    fine = (sums > _LEAST) & (sums < _MOST)
    shift = x.amax(1, keepdim=True).masked_fill_(fine, 0.0)
    sums = torch.sub(x, shift, out=values).exp_().sum(1, keepdim=True)
    return Exponentials(values, sums, shift, x)
