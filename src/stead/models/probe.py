"""Measure what this machine sustains: matrix products by width, and passes over memory, lane by lane.

Knows nothing about runs or forecasts. Takes about a second. Rates are per second of a lane's own
processor time, so that another program on the same cores changes little.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch

from stead.models import products
from stead.models.load import DTYPES

_ROWS = 512  # tokens of a part, as in training
_WIDTHS = (128, 512, 2048)
_SPAN_S = 0.04  # of one measurement; the best of _TIMES counts
_TIMES = 3
_COPIED = 1 << 25  # float32 numbers: beyond every cache


def probe(dtype: str, device: str = "cpu", lanes: int = 1) -> dict[str, Any]:  # Any: JSON values
    """Return GFLOP/s by width and bytes/s of one lane while all lanes work.

    Units: a multiply-add is two FLOPs; bytes read and written. Raises: KeyError for another dtype.
    """
    number = DTYPES[dtype]
    rates = {w: _side_by_side(partial(_products, w, number, device), lanes) for w in _WIDTHS}
    traffic = _side_by_side(partial(_copies, device), lanes)
    return {
        "gflops": {str(w): round(rate / 1e9, 2) for w, rate in rates.items()},
        "bytes_per_s": round(traffic),
        "torch": version(),
    }


def version() -> str:
    """Return the version of the library that is measured."""
    return str(torch.__version__)


def _side_by_side(work: Callable[[], float], lanes: int) -> float:
    """Run `work` in every lane at once; return the mean of their rates."""
    if lanes == 1:
        return work()
    with ThreadPoolExecutor(lanes, "probe", torch.set_num_threads, (1,)) as pool:
        return sum(pool.map(lambda _: work(), range(lanes))) / lanes


def _products(width: int, dtype: torch.dtype, device: str) -> float:
    """Return FLOP/s of [rows, width] · [width, 2·width]."""
    left = torch.ones(_ROWS, width, dtype=dtype, device=device)
    right = torch.ones(2 * width, width, dtype=dtype, device=device)
    return _rate(lambda: products.mm(left, right.t()), 2.0 * _ROWS * width * 2 * width, device)


def _copies(device: str) -> float:
    """Return bytes/s of y = a·x over arrays that no cache holds."""
    numbers = torch.ones(_COPIED, device=device)
    out = torch.empty_like(numbers)
    return _rate(lambda: torch.mul(numbers, 0.5, out=out), 8.0 * _COPIED, device)


def _rate(work: Callable[[], Any], amount: float, device: str) -> float:
    """Return the best of a few rates, after one call that compiles."""
    work()
    clock = time.thread_time if device == "cpu" else time.perf_counter
    best = 0.0
    for _ in range(_TIMES):
        begun, calls = clock(), 0
        while (spent := clock() - begun) < _SPAN_S:
            work()
            calls += 1
            if device == "cuda":
                torch.cuda.synchronize()
        best = max(best, calls * amount / spent)
    return best
