"""The seam for who runs the loop, and the one loop: step, log, callbacks, stop, save.

Knows nothing about models, data or files; everything it uses is passed in. Light.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Protocol

from stead.core.errors import Interrupted, TrainingError
from stead.core.events import Emit
from stead.training.callback import Callback, Run, StepOutcome
from stead.training.method import Columns


class StepLike(Protocol):
    """Do one optimizer step, or measure a loss; `training/step` is the real one."""

    def run(
        self, step: int, parts: Sequence[Columns], lr: float, allow: Callable[[float], bool]
    ) -> StepOutcome:
        """Do 0-based step `step`; `allow(loss)` says whether the weights may change."""

    def evaluate(self, parts: Sequence[Columns]) -> float | None:
        """Return the mean loss over `parts`."""


class LogLike(Protocol):
    """The per-step log."""

    def append(self, line: dict[str, Any]) -> None:  # Any: JSON values
        """Add one step's line."""


@dataclass(slots=True)
class Job:
    """All that the loop needs. `start` steps are done already; `save(run)` commits a checkpoint.

    `allow(loss)` lets a step change the weights; `rewind(run)` goes back to the last good
    checkpoint; `left_out(step)` says that a step's rows are not learnt from; `smaller(step, why)`
    cuts micro-batches after memory ran out, or raises; `facts(step)` are added to the step's line; `examine` measures
    held-out rows in the method's own way.
    """

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
    allow: Callable[[float], bool]
    rewind: Callable[[Run], None]
    left_out: Callable[[int], bool]
    smaller: Callable[[int, str], None]
    facts: Callable[[int], dict[str, Any]]  # Any: JSON values
    out_of_memory: type[TrainingError]
    tokens: int = 0
    examine: Callable[[], dict[str, float]] = dict


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
    with ExitStack() as unless_whole:
        for callback in job.callbacks:
            unless_whole.callback(callback.leave, run)
            callback.begin(run)
        while run.step < job.total and run.stop is None:
            if job.stop_requested():
                _interrupt(job, run)
            try:
                outcome = _step(job, run.step)
            except Interrupted as error:  # while answers were written: no weight has changed
                _interrupt(job, run, error)
            _advance(job, run, outcome)
            _tell(job, run, outcome)
        for callback in job.callbacks:
            callback.end(run)
        unless_whole.pop_all()
    return run


def _step(job: Job, step: int) -> StepOutcome:
    """Do one step; after memory ran out, the same one in smaller parts."""
    lr = job.schedule(step)
    if job.left_out(step):
        return StepOutcome(math.nan, math.nan, lr, 0, 0.0, skipped=True, left_out=True)
    while True:
        try:
            return job.stepper.run(step, job.batches(step), lr, job.allow)
        except job.out_of_memory as error:
            why = error.message
        job.smaller(step, why)  # outside: the error holds on to the memory of the failed step


def _tell(job: Job, run: Run, outcome: StepOutcome) -> None:
    for callback in job.callbacks:
        callback.after_step(run, outcome)
        if run.rewind is not None:
            job.rewind(run)
            run.rewind = None
            return


def _open(job: Job) -> Run:
    run = Run(total=job.total, emit=job.emit, save=lambda: None, evaluate=lambda: None)
    run.step, run.tokens, run.epoch = job.start, job.tokens, job.epoch_at(job.start)
    run.save = lambda: job.save(run)
    run.evaluate = lambda: job.stepper.evaluate(job.evaluation())
    run.examine = job.examine
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
    job.log.append(line | outcome.values | job.facts(run.step - 1))


def _interrupt(job: Job, run: Run, cause: Interrupted | None = None) -> NoReturn:
    if run.step > job.start:
        run.save()
    raise Interrupted(
        "interrupted",
        f"training was stopped after step {run.step} of {job.total}; "
        + ("the state is saved" if run.step > 0 else "there is nothing to save yet"),
        step=run.step,
    ) from cause
