"""Pruning while training: weights, n of m, or whole heads and neurons go, the rest learns on.

Knows nothing about losses or the loop. Sources: gradual magnitude pruning, arXiv:1710.01878; WANDA,
arXiv:2306.11695; first-order importance, arXiv:1906.10771 eq. 8.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stead.core.errors import ModelError
from stead.core.lazy import lazy
from stead.models import groups
from stead.models.adapter import Adapter, AdapterConfig, Layers, Origin, Step
from stead.models.layers import masks as choose
from stead.models.layers import structure

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch", extra="train")

_MEMORY = 0.9  # share of an importance that the next step keeps


class PruningConfig(AdapterConfig):
    """What goes, how much of it, and when."""

    type: Literal["pruning"] = "pruning"
    method: Literal["magnitude", "wanda", "structured"] = Field(
        default="magnitude",
        description="smallest weights; smallest weight times input; whole heads and neurons",
    )
    sparsity: float = Field(default=0.5, ge=0, lt=1, description="share that goes")
    scope: Literal["layer", "global"] = Field(
        default="layer", description="magnitude: the share of each matrix, or of all together"
    )
    pattern: str | None = Field(
        default=None, pattern=r"^[1-9]\d*:[1-9]\d*$",
        description="keep n of every m weights of a row, for instance 2:4, instead of a share",
    )  # fmt: skip
    parts: Literal["neurons", "heads", "both"] = Field(
        default="neurons", description="structured: what goes"
    )
    importance: Literal["norm", "first-order"] = Field(
        default="norm",
        description="structured: by the size of weights, or of weight times gradient",
    )
    begin: float = Field(
        default=0.0, ge=0, le=1, description="share of the run when pruning begins"
    )
    end: float = Field(
        default=0.75, ge=0, le=1, description="share of the run when the sparsity is reached"
    )
    every: int = Field(default=10, ge=1, description="steps between choices of what goes")

    @model_validator(mode="after")
    def _agree(self) -> "PruningConfig":
        if self.begin > self.end:
            raise ValueError(f"adapter.begin={self.begin} is after adapter.end={self.end}")
        if self.pattern is not None and self.method == "structured":
            raise ValueError(f"adapter.pattern={self.pattern!r} does not go with method=structured")
        if self.pattern is not None and self.kept_of[0] >= self.kept_of[1]:
            raise ValueError(f"adapter.pattern={self.pattern!r} would keep every weight")
        return self

    def trained_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return how many numbers are trained: all. Raises: ModelError("group-size")."""
        group = 0 if self.pattern is None else self.kept_of[1]
        return groups.check_model(model, group, f"adapter.pattern={self.pattern}")

    @property
    def kept_of(self) -> tuple[int, int]:
        """The pattern as numbers: n of m."""
        n, _, m = str(self.pattern).partition(":")
        return int(n), int(m)


class Pruning(Adapter):
    """Train while more and more weights become zero, and stay so.

    Full fine-tuning under a growing mask.
    """

    config: PruningConfig
    kind: ClassVar[str] = "model"

    _names: list[str]
    _units: list[structure.Unit]  # or the heads and neurons that go
    _layers: Layers

    def __init__(self, config: PruningConfig) -> None:
        super().__init__(config)
        self._names, self._units = [], []
        self._masks: dict[str, Tensor] = {}  # of matrices, or of units: False is gone
        self._sums: dict[str, Tensor] = {}  # squares of inputs, or importances
        self._reached = 0.0

    def wrap(self, model: "torch.nn.Module", layers: Layers, seed: int) -> None:
        """Let every parameter be trained; find what may go."""
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        self._layers = layers
        if self.config.method == "structured":
            both: tuple[structure.Kind, ...] = ("heads", "neurons")
            kinds = both if self.config.parts == "both" else (self.config.parts,)
            self._units = structure.units(model, kinds)
            return
        names = layers.detect_targets(model, "all-linear")
        self._names = [f"{n}.weight" for n in names]
        self._check_pattern(model)
        if self.config.method == "wanda":
            layers.observe(model, names)

    def _check_pattern(self, model: "torch.nn.Module") -> None:
        if self.config.pattern is None:
            return
        m = self.config.kept_of[1]
        for name in self._names:
            width = model.get_parameter(name).shape[1]
            groups.check(width, m, name, f"adapter.pattern={self.config.pattern}")

    def after_step(self, step: Step) -> bool:
        """Choose anew when it is time; what is gone is zero after every step."""
        self._watch(step)
        wanted = self._wanted(step)
        if wanted > self._reached:
            self._choose(step.weights, wanted)
            self._reached = wanted
        with torch.no_grad():
            self._apply(step.weights)
        return bool(self._masks)

    def _wanted(self, step: Step) -> float:
        """Return the sparsity that this step asks for; between choices, the former one."""
        c = self.config
        first, last = c.begin * step.total, c.end * step.total
        if step.step < first:
            return 0.0
        if c.pattern is not None:
            return 1.0 - c.kept_of[0] / c.kept_of[1]
        progress = 1.0 if step.step >= last else (step.step - first) / (last - first)
        if step.step % c.every and progress < 1.0:
            return self._reached
        return choose.cubic(progress, c.sparsity)

    def _watch(self, step: Step) -> None:
        """Add up what the choice needs: inputs of layers, or importances of units."""
        if self.config.method == "wanda":
            found = self._layers.take_squares(step.model)
            step.add(list(found.values()))  # every process must choose the same
            for name, squares in found.items():
                former = self._sums.get(name)
                self._sums[name] = squares if former is None else former + squares
        elif self._units and self.config.importance == "first-order":
            for unit in self._units:
                found = _first_order(unit, step)
                former = self._sums.get(unit.name)
                self._sums[unit.name] = (
                    found if former is None else former * _MEMORY + found * (1 - _MEMORY)
                )

    def _choose(self, weights: "dict[str, Tensor]", sparsity: float) -> None:
        if self._units:
            self._masks = {
                u.name: choose.keep_largest(self._unit_scores(u, weights), min(sparsity, 1 - 1 / u.count))
                for u in self._units
            }  # fmt: skip
            return
        if self.config.scope == "global" and self.config.pattern is None and self._is_by_size:
            scores = {n: self._ranked(n, weights) for n in self._names}
            self._masks = choose.keep_largest_together(scores, sparsity)
            return
        self._masks = {n: self._mask(n, weights, sparsity) for n in self._names}

    def choose_among(self, step: Step, names: Sequence[str]) -> None:
        """Choose among these matrices alone, for good, by what was observed so far; others stay."""
        self._watch(step)
        with torch.no_grad():
            for name in names:
                self._masks[name] = self._mask(name, step.weights, self.config.sparsity)
                step.weights[name].mul_(self._masks[name].to(step.weights[name].device))

    @property
    def matrices(self) -> list[str]:
        """The names of the weights that lose some, unless whole units go."""
        return self._names

    @property
    def _is_by_size(self) -> bool:
        return self.config.method == "magnitude"

    def _mask(self, name: str, weights: "dict[str, Tensor]", sparsity: float) -> "Tensor":
        scores = self._ranked(name, weights)
        if self.config.pattern is not None:
            return choose.keep_n_of_m(scores, *self.config.kept_of)
        if self.config.method == "wanda":
            return choose.keep_largest_of_rows(scores, sparsity)
        return choose.keep_largest(scores, sparsity)

    def _ranked(self, name: str, weights: "dict[str, Tensor]") -> "Tensor":
        return self._gone_first(name, self._scores(name, weights[name]))

    def _scores(self, name: str, weight: "Tensor") -> "Tensor":
        if self._is_by_size:
            return weight.detach().abs()
        squares = self._sums.get(name.removesuffix(".weight"))
        if squares is None:
            raise ModelError("nothing-observed", f"no row has passed through {name!r} yet")
        return choose.wanda(weight.detach(), squares)

    def _unit_scores(self, unit: structure.Unit, weights: "dict[str, Tensor]") -> "Tensor":
        if self.config.importance == "first-order":
            return self._gone_first(unit.name, self._sums[unit.name].clone())
        parts = [
            unit.shares(weights[n].detach(), a).square().sum(1)
            for n, a in unit.axes.items()
            if n in weights
        ]
        return self._gone_first(unit.name, torch.stack(parts).sum(0))

    def _gone_first(self, name: str, scores: "Tensor") -> "Tensor":
        """Let what is gone be the least, so that it never comes back."""
        mask = self._masks.get(name)
        return scores if mask is None else scores.masked_fill(~mask.to(scores.device), -1.0)

    def _apply(self, weights: "dict[str, Tensor]") -> None:
        if not self._units:
            for name, mask in self._masks.items():
                weights[name].mul_(mask.to(weights[name].device))
            return
        for unit in self._units:
            if unit.name in self._masks:
                for name, axis in unit.axes.items():
                    weights[name].mul_(unit.spread(self._masks[unit.name], weights[name], axis))

    def report(self) -> dict[str, float]:
        """Return the share of weights, or of heads and neurons, that is gone."""
        return {"sparsity": choose.sparsity_of(self._masks)}

    def state(self) -> "tuple[dict[str, Tensor], dict[str, Any]]":
        """Return masks, sums and the sparsity reached."""
        tensors = {f"mask.{n}": m for n, m in self._masks.items()}
        return tensors | {f"sum.{n}": s for n, s in self._sums.items()}, {"reached": self._reached}

    def restore(self, tensors: "dict[str, Tensor]", values: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        for name, tensor in tensors.items():
            group, _, own = name.partition(".")
            (self._masks if group == "mask" else self._sums)[own] = tensor
        self._reached = float(values.get("reached", 0.0))

    def save(self, model: "torch.nn.Module", layers: Layers, folder: Path, origin: Origin) -> None:
        """Write the model: with zeros, or really smaller when heads or neurons went."""
        if self._units and self._masks:
            tensors, fields = structure.cut(model, self._units, self._masks)
            layers.write_changed(model, folder, origin.base, tensors, fields)
        else:
            layers.write_model(model, folder, origin.base)

    def attach(self, model: "torch.nn.Module", layers: Layers, folder: Path) -> None:
        """Refuse: what was trained is a whole model."""
        raise ModelError(
            "no-adapter", f"{str(folder)!r} is a whole model, not an adapter for another one"
        )


def _first_order(unit: structure.Unit, step: Step) -> "Tensor":
    """Return |Σ w·g| of each unit: how much the loss would change without it. Shapes: [count]."""
    parts = [
        unit.shares(step.weights[n].detach() * step.gradients[n], a).sum(1)
        for n, a in unit.axes.items()
    ]
    return torch.stack(parts).sum(0).abs()
