"""A running mean of the weights: evaluated instead of the weights themselves, and written to `final/`.

Knows nothing about models; reads and replaces weights by name through what is passed in. Source:
arXiv:1806.04498 shows why; early steps count more, as in TensorFlow's ExponentialMovingAverage:
the decay is min(decay, (1 + t)/(10 + t)), so that the first weights are soon forgotten.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from stead.core.lazy import lazy
from stead.training.callback import Callback, Run, StepOutcome

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch", extra="train")


class AverageWeights(Callback):
    """Mean after step t: m = d·m + (1 − d)·w. `read` gives the float32 weights, `put` replaces them."""

    def __init__(
        self,
        decay: float,
        read: "Callable[[], dict[str, Tensor]]",
        put: "Callable[[Mapping[str, Tensor]], None]",
    ) -> None:
        self.decay = decay
        self._read = read
        self._put = put
        self._mean: dict[str, Tensor] = {}

    def begin(self, run: Run) -> None:
        """Start from the present weights, and let evaluations see the mean."""
        if not self._mean:
            self._mean = {n: w.clone() for n, w in self._read().items()}
        plain = run.evaluate
        run.evaluate = lambda: self._evaluate(plain)

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Move the mean towards the weights."""
        if outcome.skipped:
            return
        decay = min(self.decay, (1 + run.step) / (10 + run.step))
        weights = self._read()
        torch._foreach_lerp_(
            list(self._mean.values()), [weights[n] for n in self._mean], 1.0 - decay
        )

    def _evaluate(self, plain: Callable[[], float | None]) -> float | None:
        own = {n: w.clone() for n, w in self._read().items()}
        self._put(self._mean)
        try:
            return plain()
        finally:
            self._put(own)

    def weights(self) -> "Mapping[str, Tensor]":
        """Return the mean."""
        return self._mean

    def tensors(self) -> "dict[str, Tensor]":
        """Return the mean, by parameter name."""
        return dict(self._mean)

    def restore_tensors(self, tensors: "dict[str, Tensor]") -> None:
        """Put the mean back, on the weights' device."""
        devices = {n: w.device for n, w in self._read().items()}
        self._mean = {n: t.clone().to(devices[n]) for n, t in tensors.items()}
