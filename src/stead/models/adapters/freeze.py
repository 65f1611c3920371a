"""Freeze most of the model and train a part of it: the last layers, or parameters by name.

Knows nothing about optimizers or losses. What is saved is a whole model folder.
"""

import re
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stead.core.errors import ModelError
from stead.core.suggest import nearest
from stead.models.adapter import Adapter, AdapterConfig, Layers, Origin

if TYPE_CHECKING:
    import torch

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks?|layer)\.(\d+)\.")
_TABLES = ("embed_tokens", "wte", "embed_in", "word_embeddings")
_FIRST = ("embed", "wte", "wpe")  # what stands before all layers


class FreezeConfig(AdapterConfig):
    """Which part is trained."""

    type: Literal["freeze"] = "freeze"
    trains_layers: ClassVar[bool] = True  # layers' own weights are trained: their inputs are kept
    layers: int = Field(
        default=2, ge=-1000, le=1000,
        description="train so many of the last layers; negative: of the first; 0: none",
    )  # fmt: skip
    names: tuple[str, ...] = Field(
        default=(),
        description="train these parameters, too; * and ? are wildcards, for instance lm_head.*",
    )

    @model_validator(mode="after")
    def _something(self) -> "FreezeConfig":
        if self.layers == 0 and not self.names:
            raise ValueError("layers=0 and names=() leave nothing to train")
        return self

    def chosen(self, names: list[str]) -> set[str]:
        """Return the parameters that are trained.

        Raises: ModelError("unknown-target") for a name that no parameter has, or too many layers.
        """
        found = self._of_layers(names)
        for pattern in self.names:
            matched = {n for n in names if fnmatchcase(n, pattern)}
            if not matched:
                raise _absent(pattern, names)
            found |= matched
        return found

    def _of_layers(self, names: list[str]) -> set[str]:
        """Return the parameters of the last (negative: first) layers."""
        numbers = {n: int(m.group(1)) for n in names if (m := _LAYER.search(n))}
        present = sorted(set(numbers.values()))
        count = abs(self.layers)
        if count > len(present):
            raise ModelError(
                "unknown-target",
                f"the model has {len(present)} layers, layers={self.layers} asks for more",
            )
        taken = present[:count] if self.layers < 0 else present[len(present) - count :]
        return {n for n, number in numbers.items() if number in taken}

    def trained_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return how many numbers are trained."""
        return sum(prod(model.tensors[n][1]) for n in self.chosen(list(model.tensors)))

    def depth(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return through how many layers gradients flow: from the lowest trained one on."""
        names = self.chosen(list(model.tensors))
        if any(word in name for name in names for word in _FIRST):
            return int(model.layers)
        numbers = [int(m.group(1)) for n in names if (m := _LAYER.search(n))]
        return int(model.layers) - min(numbers, default=int(model.layers))


def _absent(pattern: str, names: list[str]) -> ModelError:
    """Return the error for a name that no parameter has, with the nearest; an output layer may be tied."""
    modules = {n.rpartition(".")[0] for n in names}
    near = nearest(pattern.rstrip(".*"), modules)
    ask = f"; did you mean {near + '.*'!r}?" if near is not None else ""
    table = next((m for m in sorted(modules) if m.rpartition(".")[2] in _TABLES), None)
    if pattern.startswith("lm_head") and table is not None:
        ask = f": its output layer is its table of words; name {table + '.*'!r}"
    return ModelError("unknown-target", f"the model has no parameter {pattern!r}{ask}")


class Freeze(Adapter):
    """Train some of the model's own layers, leave the rest."""

    config: FreezeConfig
    kind: ClassVar[str] = "model"

    def wrap(self, model: "torch.nn.Module", layers: Layers, seed: int) -> None:
        """Let the chosen parameters be trained; `seed` is not needed.

        Raises: ModelError("unknown-target").
        """
        parameters = dict(model.named_parameters())
        chosen = self.config.chosen(list(parameters))
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in chosen and parameter.is_floating_point())

    def save(self, model: "torch.nn.Module", layers: Layers, folder: Path, origin: Origin) -> None:
        """Write the model, its config and the base's tokenizer files."""
        layers.write_model(model, folder, origin.base)

    def attach(self, model: "torch.nn.Module", layers: Layers, folder: Path) -> None:
        """Refuse: a trained model is loaded as a model, not onto one."""
        raise ModelError(
            "no-adapter", f"{str(folder)!r} is a whole model, not an adapter for another one"
        )
