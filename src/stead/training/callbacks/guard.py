"""Watch the numbers: a loss or gradient that is none, a loss that jumps; do what the policy says.

Knows nothing about why. It is asked before a step may change the weights, so no bad number ever
reaches them; what it decides depends on the losses alone, so a resumed run decides the same.
"""

import math
from collections import deque
from statistics import median
from typing import Any

from stead.core.errors import TrainingError
from stead.core.events import Note
from stead.training.callback import Callback, Run, StepOutcome

_WINDOW = 64  # losses whose median is "usual"
_FEWEST = 8  # before so many losses nothing is called a jump: the first ones fall fast
_SPREAD = 6 * 1.4826  # a jump is also six deviations away (median absolute deviation, Gauss)
_SHARE = 0.1  # and by more than a tenth of the first losses: near zero ten times nothing is nothing
_BURST = 16  # steps without a jump after which the next one is told again
_IN_A_ROW = 10  # faults one after the other before a run is given up


class GuardNumbers(Callback):
    """Policies: "stop" raises, "skip" leaves the step's rows out, "rewind" goes back to the last
    good checkpoint and leaves out all rows since, "warn" (jumps only) tells once per burst and goes on.
    """

    def __init__(
        self, on_nan: str = "stop", on_spike: str = "warn", spike_factor: float = 10.0
    ) -> None:
        self.on_nan, self.on_spike, self.factor = on_nan, on_spike, spike_factor
        self._usual: deque[float] = deque(maxlen=_WINDOW)
        self._first: list[float] = []
        self._jumped: int | None = (
            None  # the step of the last jump that was told or came right after
        )
        self._in_a_row = 0

    def allow(self, loss: float) -> bool:
        """Say whether a step with this loss may change the weights."""
        if not math.isfinite(loss):
            return False
        return self.on_spike == "warn" or not self._jumps(loss)

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Judge one step.

        Raises: TrainingError("loss-not-finite" | "gradient-not-finite" | "loss-spike" | "not-recovering").
        """
        kind = self._fault(outcome)
        if not kind:
            if not outcome.skipped:
                self._in_a_row = 0
                self._learn(outcome.loss)
            return
        message = self._message(kind, run.step, outcome)
        policy = self.on_spike if kind == "spike" else self.on_nan
        if policy == "stop":
            raise TrainingError(_CODES[kind], message, hint=_HINTS[kind], step=run.step)
        if policy == "warn":
            self._learn(outcome.loss)
            told, self._jumped = self._jumped, run.step
            if told is not None and run.step - told <= _BURST:
                return
        else:
            self._count(run.step)
        run.emit(Note(stage="train", level="warning", code=_CODES[kind],
                      message=f"{message} (policy: {policy})"))  # fmt: skip
        if policy == "rewind":
            run.rewind = message

    def _fault(self, outcome: StepOutcome) -> str:
        if outcome.overflow or outcome.left_out:
            return ""
        if not math.isfinite(outcome.loss):
            return "loss"
        if self._jumps(outcome.loss):
            return "spike"
        return "" if math.isfinite(outcome.grad_norm) else "gradient"

    def _learn(self, loss: float) -> None:
        self._usual.append(loss)
        if len(self._first) < _FEWEST:
            self._first.append(loss)

    def _jumps(self, loss: float) -> bool:
        if len(self._usual) < _FEWEST:
            return False
        usual = median(self._usual)
        spread = median(abs(x - usual) for x in self._usual)
        far = max(_SPREAD * spread, _SHARE * median(self._first))
        return usual > 0 and loss > usual * self.factor and loss > usual + far

    def _message(self, kind: str, step: int, outcome: StepOutcome) -> str:
        if kind == "spike":
            usual = median(self._usual)
            return f"the loss of step {step} is {outcome.loss:.4g}, usual is {usual:.4g}"
        value = outcome.loss if kind == "loss" else outcome.grad_norm
        return f"the {kind} of step {step} is {value}; the weights were not changed by it"

    def _count(self, step: int) -> None:
        self._in_a_row += 1
        if self._in_a_row >= _IN_A_ROW:
            raise TrainingError(
                "not-recovering",
                f"{self._in_a_row} steps without a usable number one after the other, up to step {step}",
                hint="stead train --out another-folder -s trainer.lr=1e-5",
                step=step,
            )

    def state(self) -> dict[str, Any]:  # Any: JSON values
        """Return the usual losses."""
        return {
            "usual": list(self._usual), "first": list(self._first),
            "jumped": self._jumped, "in_a_row": self._in_a_row,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:  # Any: JSON values
        """Put back what `state` returned."""
        self._usual = deque(state["usual"], maxlen=_WINDOW)
        self._first = list(state["first"])
        self._jumped = state["jumped"]
        self._in_a_row = state["in_a_row"]


_CODES = {
    "loss": "loss-not-finite", "gradient": "gradient-not-finite", "spike": "loss-spike",
}  # fmt: skip
_HINTS = {
    "loss": "stead train --out another-folder -s trainer.on_nan=skip",
    "gradient": "stead train --out another-folder -s trainer.on_nan=skip",
    "spike": "stead train --out another-folder -s trainer.on_spike=skip",
}
