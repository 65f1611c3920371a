"""The seam for what watches the loop: called after each step, with its own state to save.

Knows nothing about models or optimizers; it acts through `Run` only.
"""

import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from stead.core.events import Emit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What one optimizer step did. `loss` is the mean over the step's weight.

    `skipped`: the weights are as they were; `overflow`: because fp16 overflowed, which mends itself;
    `left_out`: because the step's rows are not learnt from, after a rewind.
    """

    loss: float
    grad_norm: float
    lr: float
    tokens: int
    seconds: float
    skipped: bool = False
    values: dict[str, float] = field(default_factory=dict)
    overflow: bool = False
    left_out: bool = False


@dataclass(slots=True)
class Run:
    """What a callback may see and ask for. `step` counts finished steps."""

    total: int
    emit: Emit
    save: Callable[[], None]
    evaluate: Callable[[], float | None]
    examine: Callable[[], dict[str, float]] = dict  # what else the method measures on held-out rows
    step: int = 0
    epoch: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    stop: str | None = None  # a callback's reason to end the run early
    rewind: str | None = None  # a callback's reason to go back to the last good checkpoint
    held_out: float | None = None  # the newest held-out loss (or −reward), after step `measured`
    measured: int = -1
    values: dict[str, float] = field(default_factory=dict)  # added to the next progress event


class Callback:
    """A hook of the loop; called in the order given. State must be JSON values."""

    requires: ClassVar[tuple[str, ...]] = ()

    def begin(self, run: Run) -> None:
        """Be told that the loop starts or resumes at `run.step`."""
        return

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Be told that a step is done and logged."""
        return

    def end(self, run: Run) -> None:
        """Be told that the last step is done."""
        return

    def leave(self, run: Run) -> None:
        """Be told that the loop was stopped or failed before its end."""
        return

    def weights(self) -> "Mapping[str, torch.Tensor] | None":
        """Return the weights that `final/` shall hold instead of the last ones, or None."""
        return None

    def tensors(self) -> "dict[str, torch.Tensor]":
        """Return the tensors that must survive a kill."""
        return {}

    def restore_tensors(self, tensors: "dict[str, torch.Tensor]") -> None:
        """Put back what `tensors` returned."""
        return

    def state(self) -> dict[str, Any]:  # Any: JSON values
        """Return what else must survive a kill."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # Any: JSON values
        """Put back what `state` returned."""
        return


def peak_rss_mib() -> int:
    """Return the largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20) if sys.platform == "darwin" else peak // 1024
