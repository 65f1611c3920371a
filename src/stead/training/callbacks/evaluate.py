"""Measure the loss on held-out rows every so many steps, and at the end.

Knows nothing about which rows those are.
"""

from typing import Any

from stead.training.callback import Callback, Run, StepOutcome


class EvaluateLoss(Callback):
    """Ask for the held-out loss; keep the last and the best value.

    Methods that learn from rewards have none: their mean reward stands for it, higher being better.
    """

    def __init__(self, every: int | None) -> None:
        self.every = every
        self.last: float | None = None
        self.best: float | None = None
        self.reward: float | None = None

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Measure when it is time."""
        if self.every is not None and run.step % self.every == 0 and run.step < run.total:
            self._measure(run)

    def end(self, run: Run) -> None:
        """Measure the final weights."""
        if run.measured != run.step:
            self._measure(run)

    def _measure(self, run: Run) -> None:
        loss, found = run.evaluate(), run.examine()
        run.values |= found
        self.reward = found.get("eval_reward")
        if loss is not None:
            self.last = loss
            self.best = loss if self.best is None else min(self.best, loss)
            run.values["eval_loss"] = loss
        elif self.reward is not None:
            loss = -self.reward
        if loss is not None:
            run.held_out, run.measured = loss, run.step

    def state(self) -> dict[str, Any]:  # Any: JSON values
        """Return the last and the best loss, and the last mean reward."""
        return {"last": self.last, "best": self.best, "reward": self.reward}

    def restore(self, state: dict[str, Any]) -> None:  # Any: JSON values
        """Put them back; runs of before have no reward."""
        self.last, self.best, self.reward = state["last"], state["best"], state.get("reward")
