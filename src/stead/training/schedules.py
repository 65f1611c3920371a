"""Learning-rate schedules: pure functions of the step, so there is nothing to save for a resume.

Knows nothing about optimizers. Each shape gives a share of the peak for the part after warm-up.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from stead.core.errors import ConfigError

Shape = Callable[["Schedule", float, int], float]
"""(schedule, share of the steps after warm-up that is done, steps done after warm-up) → share of the peak."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A learning rate for each step: warm-up, then a shape.

    `warmup` is a share of `total`, or a number of steps when 1 or more. `floor` is the lowest share
    of the peak that a falling shape comes down to. `decay_share` is wsd's last part, `cycles` the
    restarts of cosine_restarts, `power` that of polynomial.
    """

    shape: str
    peak: float
    warmup: float
    total: int
    floor: float = 0.0
    decay_share: float = 0.2
    cycles: int = 1
    power: float = 1.0

    @property
    def warmup_steps(self) -> int:
        """How many steps the rate rises."""
        return round(self.warmup * self.total) if self.warmup < 1 else int(self.warmup)

    def __call__(self, step: int) -> float:
        """Return the rate of the 0-based `step`. Raises: ConfigError("unknown-schedule")."""
        if self.shape not in SHAPES:
            raise ConfigError(
                "unknown-schedule", f"{self.shape!r} is no schedule (known: {', '.join(SHAPES)})"
            )
        warm = self.warmup_steps
        if step < warm:
            return self.peak * (step + 1) / (warm + 1)
        after = step - warm
        done = min(1.0, after / max(1, self.total - warm))
        return self.peak * (self.floor + (1.0 - self.floor) * SHAPES[self.shape](self, done, after))


def _constant(schedule: Schedule, done: float, after: int) -> float:
    return 1.0


def _linear(schedule: Schedule, done: float, after: int) -> float:
    return 1.0 - done


def _cosine(schedule: Schedule, done: float, after: int) -> float:
    """Source: arXiv:1608.03983, eq. 5, one period."""
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _restarts(schedule: Schedule, done: float, after: int) -> float:
    """Source: arXiv:1608.03983, eq. 5, periods of equal length."""
    if done >= 1.0:
        return 0.0
    return 0.5 * (1.0 + math.cos(math.pi * (schedule.cycles * done % 1.0)))


def _wsd(schedule: Schedule, done: float, after: int) -> float:
    """Stay, then fall linearly over the last `decay_share`. Source: arXiv:2404.06395, section 4.2."""
    return min(1.0, (1.0 - done) / schedule.decay_share)


def _inverse_sqrt(schedule: Schedule, done: float, after: int) -> float:
    """Fall with the root of the step. Source: arXiv:1706.03762, eq. 3; its scale is the warm-up."""
    scale = max(1, schedule.warmup_steps)
    return math.sqrt(scale / (scale + after))


def _polynomial(schedule: Schedule, done: float, after: int) -> float:
    return float((1.0 - done) ** schedule.power)


SHAPES: dict[str, Shape] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_restarts": _restarts,
    "wsd": _wsd,
    "inverse_sqrt": _inverse_sqrt,
    "polynomial": _polynomial,
}
