"""The seam for how to learn: which columns a method needs, and its loss on one micro-batch.

Knows nothing about adapters, optimizers or steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch


class MethodConfig(BaseModel):
    """Settings of a method; a subclass adds its own and narrows `type`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    type: str


class Flat(Protocol):
    """One column of a micro-batch, flattened: see `data/pack.Batch`."""

    tokens: Any  # Any: int64[T], numpy or torch
    labels: Any
    positions: Any
    starts: Any


Columns = Mapping[str, Flat]
"""A micro-batch: column name → its flattened rows; the same rows in every column."""


class Model(Protocol):
    """What a method may ask of the model; `models/learner` is the real one."""

    def label_loss(self, batch: Flat) -> "tuple[torch.Tensor, int]":
        """Return the summed loss over labelled tokens, and their number."""

    def label_log_probs(self, batch: Flat) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return log-probabilities of the labels, and their places in the batch."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A sum over the micro-batch, not a mean: the loop divides by the whole step's weight.

    So eight micro-batches of one row give the gradient of one micro-batch of eight.
    """

    total: "torch.Tensor"
    values: dict[str, float] = field(default_factory=dict)  # sums, divided by the weight likewise


class Method(ABC):
    """A way to learn. The file name is the method's name.

    `kinds` are the kinds of prepared data it can use; `columns` the columns it needs.
    """

    config: MethodConfig
    kinds: ClassVar[tuple[str, ...]]
    columns: ClassVar[tuple[str, ...]]
    unit: ClassVar[str] = "label tokens"  # what `weight` counts
    requires: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    @abstractmethod
    def weight(self, batch: Columns) -> float:
        """Return what the summed loss is divided by, once added up over the step."""

    @abstractmethod
    def loss(self, model: Model, batch: Columns) -> Loss:
        """Compute the summed loss of one micro-batch."""
