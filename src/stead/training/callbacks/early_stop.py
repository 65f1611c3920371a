"""End a run whose held-out loss has stopped falling.

Knows nothing about how the loss is measured; judges each new value once.
"""

from typing import Any

from stead.core.events import Note
from stead.training.callback import Callback, Run, StepOutcome


class StopEarly(Callback):
    """Stop after `patience` held-out losses in a row that are not better by more than `min_delta`."""

    def __init__(self, patience: int, min_delta: float) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.best: float | None = None
        self.waited = 0

    def begin(self, run: Run) -> None:
        """End at once what had ended already when it was killed before its weights were written."""
        self._end_if_due(run)

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Judge the loss when there is a new one."""
        if run.measured != run.step or run.held_out is None:
            return
        if self.best is None or run.held_out < self.best - self.min_delta:
            self.best, self.waited = run.held_out, 0
            return
        self.waited += 1
        self._end_if_due(run)

    def _end_if_due(self, run: Run) -> None:
        if self.waited < self.patience:
            return
        run.stop = (
            f"stopped early after step {run.step} of {run.total}: no held-out loss below "
            f"{self.best:.4f} in {self.waited} evaluations"
        )
        run.emit(Note(stage="train", code="stopped-early", message=run.stop))

    def state(self) -> dict[str, Any]:  # Any: JSON values
        """Return the best loss and how many worse ones followed."""
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:  # Any: JSON values
        """Put them back."""
        self.best, self.waited = state["best"], state["waited"]
