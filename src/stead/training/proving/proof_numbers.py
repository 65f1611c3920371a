"""Proofs by numbers: packed rows against single ones, one micro-batch of eight against eight of one.

Knows nothing about masks. What differs by more than rounding is a fault of a kernel or a method.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stead.data.proof import Proof
from stead.models.learner import Learner
from stead.training.loop.parts import Parts

_CLOSE = {torch.float32: 1e-5, torch.float64: 1e-9}  # rounding, as a share of the largest gradient
_HALF = 0.05  # 8 bits of mantissa, added up in another order
_LEAK = {torch.float32: 1e-5, torch.float64: 1e-9}
_LEAK_HALF = 4e-3  # one unit in the last place of bf16


def check_packing(parts: Parts, rows: list[int]) -> Proof:
    """Compare packed and single rows; a family that cannot be packed is run row by row from here on."""
    learner = parts.tools.model
    if learner.rows_apart is not None:
        return Proof("packing", "passed", f"rows are computed one by one: {learner.rows_apart}")
    batches = list(parts.train.batch(rows).values()) if rows else []
    if not any(len(batch.starts) > 2 for batch in batches):
        return Proof("packing", "not-run", "there are no two rows to pack")
    close, leak = _Distance(), 0.0
    for batch in batches:
        packed = _gradients(learner, batch)
        with _apart(learner):
            close.add(packed, _gradients(learner, batch))
        leak = max(leak, _leak(learner, batch))
    dtype = _number(parts)
    figures = close.figures() | {"leak": leak}
    text = f"packed and single rows differ by {close.text()}"
    if close.within(dtype) and leak <= _LEAK.get(dtype, _LEAK_HALF):
        return Proof("packing", "passed", text, figures)
    learner.rows_apart = "packed rows have other gradients than single ones"
    text += (
        f" and see {leak:.1e} of their neighbors; rows are computed one by one, "
        "which is slower and right"
    )
    return Proof("packing", "switched", text, figures)


def _number(parts: Parts) -> torch.dtype:
    """Return the number type whose rounding explains differences of this run."""
    return torch.bfloat16 if parts.adapter.is_rough() else parts.loaded.dtype


@contextmanager
def _apart(learner: Learner) -> Iterator[None]:
    learner.rows_apart = "the proof compares with it"
    try:
        yield
    finally:
        learner.rows_apart = None


def _gradients(learner: Learner, batch: Any) -> list[Tensor]:
    """Return the mean loss and its gradients, without dropout."""
    learner.model.eval()
    parameters = [p for _, p in learner.trained()]
    with learner.draw(0, 0, active=False):
        total, count = learner.label_loss(batch)
        mean = total / max(1, count)
        found = torch.autograd.grad(mean, parameters, allow_unused=True)
    return [mean.detach().float().reshape(1), *(g.float() for g in found if g is not None)]


@dataclass(slots=True)
class _Distance:
    """The largest differences between two ways to one loss and its gradients."""

    loss: float = 0.0
    of_loss: float = 0.0
    gradient: float = 0.0
    of_gradient: float = 0.0

    def add(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
        """Compare two lists that begin with the loss."""
        if len(ours) != len(theirs):
            self.gradient = math.inf
            return
        worst = [float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)]
        size = [float(b.abs().max()) for b in theirs]
        self.loss, self.of_loss = max(self.loss, worst[0]), max(self.of_loss, size[0])
        self.gradient = max(self.gradient, *worst[1:])
        self.of_gradient = max(self.of_gradient, *size[1:])

    def within(self, dtype: torch.dtype) -> bool:
        """Say whether rounding explains the differences."""
        share = _CLOSE.get(dtype, _HALF)
        fine = self.loss <= 1e-6 + share * self.of_loss
        return fine and self.gradient <= 1e-6 + share * self.of_gradient

    def figures(self) -> dict[str, float]:
        """Return the figures by name."""
        return {
            "loss_difference": self.loss,
            "max_difference": self.gradient,
            "max_gradient": self.of_gradient,
        }

    def text(self) -> str:
        """Return the figures for people."""
        return (
            f"{self.loss:.1e} of a loss of {self.of_loss:.3g} and by {self.gradient:.1e} of "
            f"gradients up to {self.of_gradient:.1e}"
        )


def _leak(learner: Learner, batch: Any) -> float:
    """Return how much a row's states change when only the first row's tokens do, relative."""
    end = int(batch.starts[1])
    if end == len(batch.tokens):
        return 0.0
    other = type(batch)(
        batch.tokens.copy(), batch.labels, batch.positions, batch.starts, batch.rows, batch.parents
    )
    other.tokens[:end] = other.tokens[:end][::-1]
    other.tokens[0] = batch.tokens[-1] if batch.tokens[0] != batch.tokens[-1] else batch.tokens[0]
    with torch.no_grad(), learner.draw(0, 0, active=False):
        before, after = learner.hidden(batch)[end:], learner.hidden(other)[end:]
    return float((before - after).abs().max()) / max(1e-9, float(before.abs().max()))


def check_accumulation(parts: Parts, rows: list[int]) -> Proof:
    """Compare all rows in one micro-batch with one micro-batch for each row."""
    if parts.method.rollout or not parts.method.separable:
        why = "rows of this method are not learnt from one by one"
        return Proof("accumulation", "not-run", why)
    if len(rows) < 2:
        return Proof("accumulation", "not-run", "there are no two rows short enough")

    def computed(micro: list[list[int]]) -> list[Tensor]:
        batches = parts.method.gather(parts.tools, 0, micro)
        found = parts.stepper.gradients(0, batches, learning=False)
        scale = parts.stepper.scaler.scale
        return [torch.tensor([found.loss]), *(g.float() / scale for g in found.gradients)]

    close, n = _Distance(), len(rows)
    close.add(computed([rows]), computed([[r] for r in rows]))
    text = f"1 × {n} and {n} × 1 rows differ by {close.text()}"
    state = "passed" if close.within(_number(parts)) else "failed"
    return Proof("accumulation", state, text, close.figures())
