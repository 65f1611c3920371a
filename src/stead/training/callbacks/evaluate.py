"""Measure the loss on held-out rows every so many steps, and at the end.

Knows nothing about which rows those are.
"""

from typing import Any

from stead.training.callback import Callback, Run, StepOutcome


class EvaluateLoss(Callback):
    """Ask for the held-out loss; keep the last and the best value."""

    def __init__(self, every: int | None) -> None:
        self.every = every
        self.last: float | None = None
        self.best: float | None = None

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Measure when it is time."""
        if self.every is not None and run.step % self.every == 0 and run.step < run.total:
            self._measure(run)

    def end(self, run: Run) -> None:
        """Measure the final weights."""
        if run.measured != run.step:
            self._measure(run)

    def _measure(self, run: Run) -> None:
        loss = run.evaluate()
        if loss is None:
            return
        self.last = loss
        self.best = loss if self.best is None else min(self.best, loss)
        run.values["eval_loss"] = loss
        run.held_out, run.measured = loss, run.step

    def state(self) -> dict[str, Any]:  # Any: JSON values
        """Return the last and the best loss."""
        return {"last": self.last, "best": self.best}

    def restore(self, state: dict[str, Any]) -> None:  # Any: JSON values
        """Put them back."""
        self.last, self.best = state["last"], state["best"]
