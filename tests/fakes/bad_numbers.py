"""What a bad sample does to its loss: the faults of TR5, for tests and the campaign."""

import math
from collections.abc import Callable
from typing import Any

import torch


class _BadGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * math.nan


FAULTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "nan": lambda total: total * math.nan,
    "infinity": lambda total: total * math.inf,
    "gradient": _BadGradient.apply,
    "jump": lambda total: total * 1000,
}
