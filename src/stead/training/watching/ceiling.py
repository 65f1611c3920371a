"""How fast this machine could train at most: its measured matrix products over the model's FLOPs.

Knows nothing about steps. The measurement is made once per machine and number type, and kept in the
data directory. Units: FLOP (a multiply-add is two), tokens per second.
"""

import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from stead.core import files
from stead.core.errors import NotFound
from stead.core.paths import Home
from stead.models import products
from stead.values import LoadedModel

_SHAPE = {"cpu": (512, 1024, 2048), "cuda": (4096, 4096, 4096), "mps": (1024, 2048, 2048)}
_LONG_ENOUGH_S = 0.15  # of products, the best of which counts
_WORTH_IT = 50  # steps of a run for which measuring is no waste


def full_speed(loaded: LoadedModel, steps: int, home: Home) -> float | None:
    """Return the tokens per second at which every moment would be a matrix product of training.

    None when nothing was measured here yet and the run is too short to do it.
    """
    place = home.ensure().cache / "system" / "ceiling.json"
    key = f"{_machine(loaded.device)} {loaded.dtype} {torch.get_num_threads()} threads"
    try:
        known: dict[str, float] = files.read_json(place)
    except (NotFound, ValueError):
        known = {}
    if key not in known:
        if steps < _WORTH_IT:
            return None
        known[key] = measure(loaded.device, loaded.dtype)
        files.write_json(place, known)
    needed = flops_per_token(loaded.model)
    return known[key] / needed if needed else None


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def measure(
    device: torch.device, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the FLOP/s of the best of many matrix products."""
    m, k, n = _SHAPE[device.type]
    a = torch.ones(m, k, dtype=dtype, device=device)
    b = torch.ones(k, n, dtype=dtype, device=device)
    best, spent = float("inf"), 0.0
    products.mm(a, b)  # kernels are chosen and compiled
    _wait(device)
    while spent < _LONG_ENOUGH_S:
        began = clock()
        products.mm(a, b)
        _wait(device)
        took = max(clock() - began, 1e-9)
        best, spent = min(best, took), spent + took
    return 2.0 * m * k * n / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def flops_per_token(model: Any) -> float:  # Any: a transformers model
    """Return the FLOPs of one forward and backward pass per token, attention's own products left out.

    2 per weight forward, 2 backward, 2 more where the weight itself is learnt. Source:
    arXiv:2001.08361, section 2.1.
    """
    total = 0.0
    for module in model.modules():
        if isinstance(module, nn.Linear):
            own = dict(module.named_parameters(recurse=False)).get("weight")  # None: kept as codes
            learnt = own is not None and own.requires_grad
            total += module.in_features * module.out_features * (6.0 if learnt else 4.0)
    return total
