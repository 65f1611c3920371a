"""Save the training state every so many steps.

Knows nothing about what is in a checkpoint.
"""

from stead.training.callback import Callback, Run, StepOutcome


class SaveCheckpoints(Callback):
    """Save after every `every`-th step, but not after the last: the final model follows."""

    def __init__(self, every: int) -> None:
        self.every = every

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Save when it is time."""
        if run.step % self.every == 0 and run.step < run.total:
            run.save()
