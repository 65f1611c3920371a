"""Memory that a thread uses again and again: fresh pages cost as much as a product fills them.

Knows nothing about what lies in it. A caller names its use, and what it got is overwritten at that
thread's next call for the same use.
"""

import threading
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor


class _Kept(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}


_kept = _Kept()


def scratch(use: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return this thread's memory for a use; what lies in it is anything.

    On a device whose own allocator keeps memory it is fresh.
    """
    if device.type != "cpu":
        return torch.empty(tuple(shape), dtype=dtype, device=device)
    wanted, kept = prod(shape), _kept.buffers.get(use)
    if kept is None or kept.dtype != dtype or kept.numel() < wanted:
        with torch.inference_mode(mode=False):  # or training could not write what generation made
            kept = _kept.buffers[use] = torch.empty(wanted, dtype=dtype)
    return kept[:wanted].view(tuple(shape))
