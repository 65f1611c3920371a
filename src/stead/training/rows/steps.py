"""Which rows each optimizer step sees: a function of the step's number alone.

Knows nothing about what a row holds. Nothing is consumed, so a resume jumps to its step.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from stead.core.errors import DataError

Rows = Sequence[int]
PlanEpoch = Callable[[int], Sequence[Any]]  # Any: arrays of row numbers
"""Epoch → its micro-batches, each a list of row numbers; the same answer every time."""


@dataclass(slots=True)
class Steps:
    """The run's steps. `total` counts optimizer steps; an epoch's last step may be short."""

    plan: PlanEpoch
    epochs: float
    accumulation: int
    max_steps: int | None = None
    repeat: int = 1  # steps on the same rows before the next ones
    total: int = field(init=False)
    _ends: list[int] = field(init=False)  # steps finished when each epoch ends
    _cached: tuple[int, Sequence[Any]] = field(init=False, default=(-1, ()))

    def __post_init__(self) -> None:
        """Count the steps. Raises: DataError("nothing-to-train-on")."""
        self._ends = []
        done, first = 0, self._epoch(0)
        for epoch in range(ceil(self.epochs)):
            done += ceil(len(self._epoch(epoch)) / self.accumulation) * self.repeat
            self._ends.append(done)
            if self.max_steps is not None and done >= self.max_steps:
                break
        self._cached = (0, first)  # where training begins; a million rows take a while to deal
        if done == 0:
            raise DataError("nothing-to-train-on", "the training split has no rows")
        self.total = self._last()

    def _last(self) -> int:
        whole = len(self._ends)
        last = self._ends[-1]
        if whole == ceil(self.epochs) and self.epochs < whole:
            before = self._ends[-2] if whole > 1 else 0
            last = before + max(1, round((last - before) * (self.epochs - (whole - 1))))
        return last if self.max_steps is None else min(last, self.max_steps)

    def _epoch(self, epoch: int) -> Sequence[Any]:
        if self._cached[0] != epoch:
            self._cached = (epoch, self.plan(epoch))
        return self._cached[1]

    def rows(self, step: int) -> list[Rows]:
        """Return the micro-batches of 0-based `step`, as row numbers."""
        epoch, first = self._place(step)
        micro = self._epoch(epoch)
        begin = (step - first) // self.repeat * self.accumulation
        return [list(map(int, m)) for m in micro[begin : begin + self.accumulation]]

    def epoch_at(self, step: int) -> float:
        """Return how many epochs are done when `step` steps are."""
        if step == 0:
            return 0.0
        epoch, first = self._place(step - 1)
        return epoch + (step - first) / (self._ends[epoch] - first)

    def _place(self, step: int) -> tuple[int, int]:
        epoch = bisect_right(self._ends, step)
        return epoch, self._ends[epoch - 1] if epoch else 0
