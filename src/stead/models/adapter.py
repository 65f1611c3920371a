"""The seam for what is trained: all weights, or small ones beside frozen ones.

Knows nothing about losses, data or the loop. Light: configs load in the base install; the layers an
adapter puts into a model are built by `Layers`, which the caller passes in.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch


class AdapterConfig(BaseModel):
    """Settings of an adapter; a subclass adds its own and narrows `type`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    type: str

    def require(self, model: Any) -> None:  # Any: planning's ModelFacts
        """Refuse a model that cannot take this adapter, where its facts tell: asked by the plan.

        Raises: ModelError.
        """


@dataclass(frozen=True, slots=True)
class Origin:
    """Which base an adapter belongs to, written beside its weights."""

    base: Path
    base_hash: str = ""
    lineage: dict[str, Any] = field(default_factory=dict)  # Any: JSON values


def _alone(tensors: "Sequence[torch.Tensor]") -> None:
    """Sum over one process: nothing to do."""


@dataclass(slots=True)
class Step:
    """One finished optimizer step, for adapters that change weights or ranks between steps."""

    model: "torch.nn.Module"
    weights: "dict[str, torch.Tensor]"  # the float32 masters by parameter name; may be changed
    gradients: "dict[str, torch.Tensor]"  # clipped, by parameter name
    step: int  # finished steps
    total: int
    add: "Callable[[Sequence[torch.Tensor]], None]" = _alone  # sums tensors over all processes


class Layers(Protocol):
    """What can be put into a model; `models/layers/layers` has the real ones."""

    def detect_targets(self, model: "torch.nn.Module", wanted: str | tuple[str, ...]) -> list[str]:
        """Return the full names of the linear layers meant by `wanted`."""

    def add_low_rank(
        self, model: "torch.nn.Module", names: list[str], *, rank: int, scaling: float,
        dropout: float, seed: int, init: str = "true", kind: str = "lora",
    ) -> None:  # fmt: skip
        """Put a trainable product B·A beside each named linear layer.

        `init`: true, gaussian, pissa or loftq; `kind`: lora, dora or adalora.
        """

    def add_scales(
        self, model: "torch.nn.Module", names: Collection[str], *, of_input: Collection[str]
    ) -> None:
        """Put a trainable vector on the outputs, or inputs, of each named linear layer."""

    def quantize(
        self, model: "torch.nn.Module", names: list[str], *, kind: str, double: bool,
        errors: Mapping[str, int],
    ) -> None:  # fmt: skip
        """Keep the weights of the named layers as codes: nf4, fp4 or int8.

        `errors`: layer → rank of the rounding error that `add_low_rank` begins with, for "loftq".
        """

    def add_prompt(self, model: "torch.nn.Module", prompt: Any) -> None:
        """Put trainable virtual tokens (`models/layers/prompt_adapter.Prompt`) before every row."""

    def set_prompt(self, model: "torch.nn.Module", vectors: "torch.Tensor", *, keys: bool) -> None:
        """Put finished virtual tokens before every row."""

    def prompt_vectors(self, model: "torch.nn.Module") -> "torch.Tensor":
        """Return the model's virtual tokens."""

    def prompt_dims(self, model: "torch.nn.Module", *, keys: bool) -> Any:  # Any: prompts.Dims
        """Return the sizes that belong beside saved virtual tokens."""

    def add_grid(
        self, model: "torch.nn.Module", names: list[str], *, bits: int, group: int,
        activations: bool,
    ) -> None:  # fmt: skip
        """Let each named linear layer compute as if its weight were rounded to a grid."""

    def grid_weights(self, model: "torch.nn.Module") -> "dict[str, torch.Tensor]":
        """Return the rounded weights of those layers by parameter name."""

    def observe(self, model: "torch.nn.Module", names: list[str]) -> None:
        """Let each named linear layer add up the squares of its inputs."""

    def take_squares(self, model: "torch.nn.Module") -> "dict[str, torch.Tensor]":
        """Return those sums since the last call, by layer."""

    def read_tensors(self, path: Path) -> "dict[str, torch.Tensor]":
        """Read a safetensors file."""

    def write_tensors(
        self, path: Path, tensors: "dict[str, torch.Tensor]", metadata: dict[str, str]
    ) -> None:
        """Write a safetensors file."""

    def write_model(self, model: "torch.nn.Module", folder: Path, base: Path) -> None:
        """Write a whole model folder: weights, config, tokenizer."""

    def write_changed(
        self, model: "torch.nn.Module", folder: Path, base: Path,
        tensors: "Mapping[str, torch.Tensor]", fields: Mapping[str, int],
    ) -> None:  # fmt: skip
        """Write a model folder with other tensors and config fields than the model has."""


class Adapter(ABC):
    """Decide which weights of a model are trained, and write exactly those.

    `wrap` leaves `requires_grad` true on the trained parameters and on nothing else. The file name is
    the adapter's name.
    """

    config: AdapterConfig
    requires: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[str] = "adapter"  # what `save` writes: "adapter" or "model"
    default_lr: ClassVar[float | None] = None  # with every method, whatever the method advises
    needs_whole: ClassVar[bool] = False  # layers look at whole matrices: they cannot be spread
    can_switch_off: ClassVar[bool] = False  # layers obey `lowrank.Draw.plain`
    cannot: ClassVar[Mapping[str, str]] = {}  # a word of `Method.needs` → why it is not there
    lr_factor: ClassVar[float] = 1.0  # of the method's learning rate for adapters, or whole models

    def __init__(self, config: AdapterConfig) -> None:
        self.config = config

    def switches_off(self) -> bool:
        """Say whether these settings leave the starting model reachable by `Draw.plain`."""
        return self.can_switch_off

    def is_rough(self) -> bool:
        """Say whether these settings round inputs of layers, so that rounding errors can grow."""
        return False

    @abstractmethod
    def wrap(self, model: "torch.nn.Module", layers: Layers, seed: int) -> None:
        """Make the model trainable; new weights come from `seed`."""

    def rate(self, name: str) -> float:
        """Return the factor of the learning rate for the parameter `name`."""
        return 1.0

    def penalty(self, model: "torch.nn.Module") -> "torch.Tensor | None":
        """Return what is added to the mean loss once per step, or None."""
        return None

    def after_step(self, step: Step) -> bool:
        """Change `step.weights` in place after an optimizer step; say whether any was changed."""
        return False

    def report(self) -> dict[str, float]:
        """Return numbers for the step log and the result, beside the loss."""
        return {}

    def state(self) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":  # Any: JSON values
        """Return tensors and values that must survive a kill beyond the trained weights."""
        return {}, {}

    def restore(self, tensors: "dict[str, torch.Tensor]", values: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        return

    @abstractmethod
    def save(self, model: "torch.nn.Module", layers: Layers, folder: Path, origin: Origin) -> None:
        """Write the trained weights and their config into an existing, empty folder."""

    @classmethod
    def read(cls, folder: Path) -> AdapterConfig | None:
        """Return the settings of an adapter saved in `folder`, or None when it is not of this kind.

        Raises: ModelError("adapter-unsupported") for one that would not be computed exactly.
        """
        return None

    @abstractmethod
    def attach(self, model: "torch.nn.Module", layers: Layers, folder: Path) -> None:
        """Put saved weights into a freshly loaded base model."""
