"""Tell how the run goes: loss, rate, speed and its share of what the machine could do, memory, time left.

Knows nothing about who reads it.
"""

import math
from collections import deque

from stead.core.events import Progress
from stead.training.callback import Callback, Run, StepOutcome, peak_rss_mib

_WINDOW = 20  # steps whose mean speed gives the time left


class ReportProgress(Callback):
    """Emit a Progress event every `every` steps, and at the last one."""

    def __init__(self, every: int, full_speed: float | None = None) -> None:
        self.every = every
        self.full_speed = full_speed  # tokens per second if all was matrix products
        self._recent: deque[tuple[int, float]] = deque(maxlen=_WINDOW)

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Emit when it is time."""
        self._recent.append((outcome.tokens, outcome.seconds))
        if run.step % self.every != 0 and run.step != run.total:
            return
        tokens = sum(t for t, _ in self._recent)
        seconds = max(sum(s for _, s in self._recent), 1e-9)
        values = {
            "loss": outcome.loss,
            "lr": outcome.lr,
            "grad_norm": outcome.grad_norm,
            "epoch": run.epoch,
            "tokens": float(run.tokens),
            "tokens_per_s": tokens / seconds,
            "seconds_left": seconds / len(self._recent) * (run.total - run.step),
            "peak_rss_mib": float(peak_rss_mib()),
        }
        if self.full_speed is not None:
            values["ceiling_share"] = values["tokens_per_s"] / self.full_speed
        told = values | outcome.values | run.values
        finite = {k: v for k, v in told.items() if math.isfinite(v)}  # JSON knows no NaN
        run.emit(Progress(stage="train", done=run.step, values=finite))
        run.values.clear()
