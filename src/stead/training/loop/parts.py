"""What a run is made of: the settings it reads and everything that is built from them.

Knows nothing about how the parts are built or used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from stead.core.events import Emit
from stead.models.adapter import Adapter
from stead.training.callback import Callback
from stead.training.loop.adjust import Adjustments
from stead.training.loop.log import StepLog
from stead.training.loop.tools import Tools
from stead.training.method import Method
from stead.training.optimizer import Optimizer
from stead.training.rows.batches import Columns
from stead.training.rows.steps import Steps
from stead.training.schedules import Schedule
from stead.training.stepping.sharded import Shares
from stead.training.stepping.step import Stepper
from stead.training.stepping.world import World
from stead.values import LoadedModel, PreparedData

Resume = Literal[False, True, "exact", "same-order", "best-effort"]


class TrainerSettings(Protocol):
    """The attributes of `config/run.TrainerSection` that the loop reads; Any: a number or "auto"."""

    @property
    def type(self) -> str: ...  # noqa: D102 - described where it is declared
    @property
    def epochs(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def max_steps(self) -> int | None: ...  # noqa: D102 - described where it is declared
    @property
    def batch_tokens(self) -> Any: ...  # noqa: D102 - described where it is declared
    @property
    def batch_rows(self) -> int | None: ...  # noqa: D102 - described where it is declared
    @property
    def accumulation(self) -> int: ...  # noqa: D102 - described where it is declared
    @property
    def lr(self) -> Any: ...  # noqa: D102 - described where it is declared
    @property
    def schedule(self) -> str: ...  # noqa: D102 - described where it is declared
    @property
    def warmup(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def weight_decay(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def clip(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def optimizer(self) -> str: ...  # noqa: D102 - described where it is declared
    @property
    def betas(self) -> tuple[float, float] | None: ...  # noqa: D102 - described where it is declared
    @property
    def seed(self) -> int: ...  # noqa: D102 - described where it is declared
    @property
    def shuffle(self) -> bool: ...  # noqa: D102 - described where it is declared
    @property
    def gradient_checkpointing(self) -> bool: ...  # noqa: D102 - described where it is declared
    @property
    def checkpoint_every(self) -> Any: ...  # noqa: D102 - described where it is declared
    @property
    def keep(self) -> int: ...  # noqa: D102 - described where it is declared
    @property
    def log_every(self) -> int: ...  # noqa: D102 - described where it is declared
    @property
    def eval_every(self) -> int | None: ...  # noqa: D102 - described where it is declared
    @property
    def logits_chunk(self) -> Any: ...  # noqa: D102 - described where it is declared
    @property
    def momentum(self) -> float | None: ...  # noqa: D102 - described where it is declared
    @property
    def lr_floor(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def decay_share(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def cycles(self) -> int: ...  # noqa: D102 - described where it is declared
    @property
    def power(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def label_smoothing(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def neftune_alpha(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def patience(self) -> int | None: ...  # noqa: D102 - described where it is declared
    @property
    def min_delta(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def keep_best(self) -> bool: ...  # noqa: D102 - described where it is declared
    @property
    def ema(self) -> float | None: ...  # noqa: D102 - described where it is declared
    @property
    def samples(self) -> Any: ...  # noqa: D102 - described where it is declared
    @property
    def trackers(self) -> Any: ...  # noqa: D102 - described where it is declared
    @property
    def on_nan(self) -> str: ...  # noqa: D102 - described where it is declared
    @property
    def on_spike(self) -> str: ...  # noqa: D102 - described where it is declared
    @property
    def spike_factor(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def proofs(self) -> bool: ...  # noqa: D102 - described where it is declared
    @property
    def allow(self) -> tuple[str, ...]: ...  # noqa: D102 - described where it is declared


@dataclass(frozen=True, slots=True)
class Learning:
    """What is learnt and how: method and adapter, by name and settings."""

    method: str
    method_config: Mapping[str, Any]  # Any: settings, checked by the method's config class
    adapter: str
    adapter_config: Mapping[str, Any]


@dataclass(slots=True)
class Parts:
    """Everything that was built for one run."""

    trainer: TrainerSettings
    learning: Learning
    prepared: PreparedData
    loaded: LoadedModel
    run_dir: Path
    emit: Emit
    lineage: dict[str, Any]
    method: Method
    adapter: Adapter
    train: Columns
    held_out: Columns | None
    steps: Steps
    schedule: Schedule
    optimizer: Optimizer
    stepper: Stepper
    log: StepLog
    tools: Tools
    shares: Shares
    adjustments: Adjustments
    every: int  # steps between checkpoints
    callbacks: dict[str, Callback] = field(default_factory=dict)
    resumes: list[dict[str, Any]] = field(default_factory=list)
    start: int = 0
    tokens: int = 0

    @property
    def world(self) -> World:
        """The processes that train together."""
        return self.shares.world

    @property
    def own_dir(self) -> Path:
        """Where this process may write without asking the others; the run folder, for the leader."""
        return self.run_dir if self.world.leads else self.run_dir / f".rank-{self.world.rank}"

    @property
    def lanes(self) -> int:
        """How many micro-batches run side by side."""
        return self.tools.lanes

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.run_dir / "checkpoints"
