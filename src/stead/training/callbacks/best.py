"""Keep the weights with the lowest held-out loss, and give them to `final/`.

Knows nothing about files; keeping, dropping and reading weights are passed in.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from stead.training.callback import Callback, Run, StepOutcome

if TYPE_CHECKING:
    import torch


class Kept(Protocol):
    """Where the best weights lie; `training/best_weights` is the real one."""

    def keep(self, step: int) -> None:
        """Save the present weights as those of `step`; others may go unless a checkpoint names them."""

    def drop_after(self, step: int) -> None:
        """Forget weights of later steps, which a resumed run has not done yet."""

    def check(self, step: int) -> None:
        """Refuse to go on when the weights of `step` are damaged or gone."""

    def read(self, step: int) -> "Mapping[str, torch.Tensor]":
        """Return the weights of `step`."""


class KeepBest(Callback):
    """After each evaluation, save the weights if none before had a lower loss."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._last: int | None = None  # the run's last step: the model has its weights already
        self.loss: float | None = None
        self.step: int | None = None

    def begin(self, run: Run) -> None:
        """Forget what a killed run left behind."""
        self._kept.drop_after(-1 if self.step is None else self.step)

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Save when the newest loss is the lowest."""
        if run.measured == run.step and self._improves(run):
            self._kept.keep(run.step)

    def end(self, run: Run) -> None:
        """Judge the last weights too; they need no copy."""
        self._improves(run)
        self._last = run.step

    def _improves(self, run: Run) -> bool:
        if run.held_out is None or (self.loss is not None and run.held_out >= self.loss):
            return False
        self.loss, self.step = run.held_out, run.step
        return True

    def weights(self) -> "Mapping[str, torch.Tensor] | None":
        """Return the best weights, or None when they are the last ones."""
        if self.step is None or self.step == self._last:
            return None
        return self._kept.read(self.step)

    def state(self) -> dict[str, Any]:  # Any: JSON values
        """Return the lowest loss and its step."""
        return {"loss": self.loss, "step": self.step}

    def restore(self, state: dict[str, Any]) -> None:  # Any: JSON values
        """Put them back, after a resume or a rewind; what came later is none of this run."""
        self.loss, self.step = state["loss"], state["step"]
        self._kept.drop_after(-1 if self.step is None else self.step)
        if self.step is not None:
            self._kept.check(self.step)
