"""The same bits from the same step on a GPU, whose usual kernels add up in whatever order comes first.

Knows nothing about steps or models. A CPU's kernels need nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils import deterministic

_WORKSPACE = ":4096:8"  # 8 buffers of 4 MiB; cuBLAS documentation, "Results reproducibility"


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Let torch choose kernels with a fixed order on CUDA; where there is none, it warns and goes on.

    cuBLAS reads its variable at the first product of the process, so nothing may be computed on the
    card before.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", _WORKSPACE)
    former = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic.fill_uninitialized_memory = False  # all memory is written before it is read
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(former, warn_only=warned)
        deterministic.fill_uninitialized_memory = filled
