"""The seam for who runs the loop, and the one loop: step, log, callbacks, stop, save.

Knows nothing about models, data or files; everything it uses is passed in. Light.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from stead.core.errors import Interrupted
from stead.core.events import Emit
from stead.training.callback import Callback, Run, StepOutcome
from stead.training.method import Columns


class StepLike(Protocol):
    """Do one optimizer step, or measure a loss; `training/step` is the real one."""

    def run(self, step: int, parts: Sequence[Columns], lr: float) -> StepOutcome:
        """Do 0-based step `step`."""

    def evaluate(self, parts: Sequence[Columns]) -> float | None:
        """Return the mean loss over `parts`."""


class LogLike(Protocol):
    """The per-step log."""

    def append(self, line: dict[str, Any]) -> None:  # Any: JSON values
        """Add one step's line."""


@dataclass(slots=True)
class Job:
    """All that the loop needs. `start` steps are done already; `save(run)` commits a checkpoint."""

    start: int
    total: int
    batches: Callable[[int], Sequence[Columns]]
    epoch_at: Callable[[int], float]
    schedule: Callable[[int], float]
    stepper: StepLike
    callbacks: Sequence[Callback]
    log: LogLike
    save: Callable[[Run], None]
    evaluation: Callable[[], Sequence[Columns]]
    stop_requested: Callable[[], bool]
    emit: Emit
    tokens: int = 0


class Trainer(ABC):
    """Runs a job to its end. The file name is the trainer's name."""

    requires: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def fit(self, job: Job) -> Run:
        """Train; return the finished run. Raises: Interrupted after a signal, once saved."""


def loop(job: Job) -> Run:
    """Train step by step, from `job.start` to `job.total`.

    Raises: Interrupted("interrupted") when a stop was asked for: the state of that very step is
    saved first. What a callback raises ends the run; what was saved stays.
    """
    run = _open(job)
    for callback in job.callbacks:
        callback.begin(run)
    while run.step < job.total and run.stop is None:
        if job.stop_requested():
            _interrupt(job, run)
        outcome = job.stepper.run(run.step, job.batches(run.step), job.schedule(run.step))
        _advance(job, run, outcome)
        for callback in job.callbacks:
            callback.after_step(run, outcome)
    for callback in job.callbacks:
        callback.end(run)
    return run


def _open(job: Job) -> Run:
    run = Run(total=job.total, emit=job.emit, save=lambda: None, evaluate=lambda: None)
    run.step, run.tokens, run.epoch = job.start, job.tokens, job.epoch_at(job.start)
    run.save = lambda: job.save(run)
    run.evaluate = lambda: job.stepper.evaluate(job.evaluation())
    return run


def _advance(job: Job, run: Run, outcome: StepOutcome) -> None:
    run.step += 1
    run.epoch = job.epoch_at(run.step)
    run.tokens += outcome.tokens
    run.seconds += outcome.seconds
    line: dict[str, Any] = {  # Any: JSON values; no times, see training/log
        "step": run.step,
        "loss": outcome.loss,
        "lr": outcome.lr,
        "grad_norm": outcome.grad_norm,
        "tokens": run.tokens,
        "epoch": run.epoch,
    }
    if outcome.skipped:
        line["skipped"] = True
    job.log.append(line | outcome.values)


def _interrupt(job: Job, run: Run) -> None:
    if run.step > job.start:
        run.save()
    raise Interrupted(
        "interrupted",
        f"training was stopped after step {run.step} of {job.total}; the state is saved",
        step=run.step,
    )
