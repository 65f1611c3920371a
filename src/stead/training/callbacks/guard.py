"""Stop a run whose loss or gradient is no number, before it can spoil the weights.

Knows nothing about why; the step that found it has changed nothing.
"""

import math

from stead.core.errors import TrainingError
from stead.training.callback import Callback, Run, StepOutcome


class GuardNumbers(Callback):
    """Raise in the step where the loss or the gradient's norm is NaN or infinite."""

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Check one step. Raises: TrainingError("loss-not-finite" | "gradient-not-finite")."""
        if outcome.skipped:
            return
        for name, value in (("loss", outcome.loss), ("gradient", outcome.grad_norm)):
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name}-not-finite",
                    f"the {name} of step {run.step} is {value}; the weights were not changed by it",
                    step=run.step,
                )
