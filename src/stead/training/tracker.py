"""The seam for who else is told of every step: TensorBoard, MLflow, Weights & Biases.

Knows nothing about a tracker's library. Whatever such a library does, the run goes on: the first
failure is told once, and the tracker is left alone from then on.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stead.core.events import Note
from stead.training.callback import Callback, Run, StepOutcome, peak_rss_mib

PROJECT = "stead"


@dataclass(frozen=True, slots=True)
class Tracked:
    """The run as a tracker shows it. `settings` are flat JSON values."""

    name: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON values


class Tracker(Callback):
    """Write loss, rate, gradient norm, speed and held-out loss of every step somewhere.

    A subclass opens, writes and closes; it keeps in `state` what it needs to go on after a resume.
    """

    def __init__(self, tracked: Tracked) -> None:
        self.tracked = tracked
        self._broken = False
        self._last = 0  # the newest step that was written

    @abstractmethod
    def open(self, step: int) -> None:
        """Begin, or go on after finished step `step`: what was written of later ones is void."""

    @abstractmethod
    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of finished step `step`."""

    def go_back(self, step: int) -> None:
        """Be told that the run was rewound to finished step `step`; a library that cannot, need not."""
        return

    @abstractmethod
    def close(self, *, is_whole: bool) -> None:
        """Bring everything to its place: the run has ended, or was stopped and may go on later."""

    def begin(self, run: Run) -> None:
        """Open."""
        self._try(run, lambda: self.open(run.step))

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Write one step."""
        if run.step <= self._last:
            self._try(run, lambda: self.go_back(run.step - 1))
        self._last = run.step
        values = {
            "train/loss": outcome.loss,
            "train/learning_rate": outcome.lr,
            "train/grad_norm": outcome.grad_norm,
            "train/epoch": run.epoch,
            "speed/tokens_per_s": outcome.tokens / max(outcome.seconds, 1e-9),
            "speed/peak_rss_mib": float(peak_rss_mib()),
        } | {f"train/{name}": value for name, value in outcome.values.items()}
        self._try(run, lambda: self.write(run.step, values | _held_out(run)))

    def end(self, run: Run) -> None:
        """Write the last held-out loss, and close."""
        if _held_out(run):
            self._try(run, lambda: self.write(run.step, _held_out(run)))
        self._try(run, lambda: self.close(is_whole=True))

    def leave(self, run: Run) -> None:
        """Close, so that nothing is lost and nobody takes the run for a living one."""
        self._try(run, lambda: self.close(is_whole=False))

    def _try(self, run: Run, action: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            action()
        except Exception as error:
            self._broken = True
            name = type(self).__name__
            message = f"{name} failed and is left out from here on: {type(error).__name__}: {error}"
            run.emit(Note(stage="train", level="warning", code="tracker-failed", message=message))


def _held_out(run: Run) -> dict[str, float]:
    """Return what was measured on held-out rows after this very step: "eval/loss", "eval/reward"."""
    if run.measured != run.step:
        return {}
    found = {n.removeprefix("eval_"): v for n, v in run.values.items() if n.startswith("eval_")}
    return {f"eval/{name}": value for name, value in found.items()}
