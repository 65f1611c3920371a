"""The two files of an adapter in PEFT's format: names of tensors, the common fields, their checks.

Knows nothing about what the tensors mean. Light: tensors come in and go out by the caller's hands.
Format: PEFT's adapter_config.json and adapter_model.safetensors.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stead.core import files
from stead.core.errors import ModelError
from stead.core.lazy import lazy
from stead.core.suggest import nearest
from stead.hub.linear import is_expert, is_linear
from stead.models.adapter import Origin

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", extra="train")

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
QUANTIZATION = "quantization.json"  # ours, beside PEFT's files: how the frozen base was rounded
PREFIX = "base_model.model."  # PEFT wraps the model twice; its keys keep both names
_WRAPPERS = re.compile(r"\.(base_layer|original_module|modules_to_save|default)(?=\.|$)")
_INSIDE = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.")  # a layer's own, of the many
# The attention's own layers under the names architectures give them; what "auto" means in a forecast.
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "c_attn", "query", "key", "value", "Wqkv")
T = TypeVar("T")


def read(folder: Path, peft_type: str) -> dict[str, Any] | None:  # Any: JSON values
    """Return adapter_config.json when it describes an adapter of this type, else None."""
    if not (folder / CONFIG).is_file():
        return None
    data: dict[str, Any] = files.read_json(folder / CONFIG)
    return data if data.get("peft_type") == peft_type else None


def write(folder: Path, peft_type: str, origin: Origin, fields: Mapping[str, Any]) -> None:
    """Write adapter_config.json with the fields that every type has."""
    common = {
        "peft_type": peft_type,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(origin.base),
        "inference_mode": True,
    }
    files.write_json(folder / CONFIG, common | dict(fields))


def plain_name(key: str) -> str:
    """Return the parameter's name in the bare model for a key of the file."""
    return _WRAPPERS.sub("", key.removeprefix(PREFIX))


def pattern(patterns: Mapping[str, T] | None, module: str, usual: T) -> T:
    """Return the value of the first pattern that matches (peft.utils.other.get_pattern_key)."""
    for key, value in (patterns or {}).items():
        if matches(key, module):
            return value
    return usual


def matches(key: str, module: str) -> bool:
    """Say whether a pattern of ranks or alphas means a module."""
    return re.match(rf"(.*\.)?({key})$", module) is not None


def unknown_target(name: str, every: Sequence[str], setting: str = "") -> ModelError:
    """Return the error for a layer's name that fits none of `every`, with the nearest one."""
    known = sorted({n.rsplit(".", 1)[-1] for n in every})
    near = nearest(name, known)
    ask = f"; did you mean {near!r}?" if near is not None else ""
    where = f" ({setting})" if setting else ""
    return ModelError(
        "unknown-target",
        f"the model has no linear layer {name!r}{where}{ask} (it has: {', '.join(known)})",
    )


Matrix = tuple[str, tuple[int, ...]]
"""A linear layer's name and its weight's shape [outputs, inputs]."""


def linear(facts: Any) -> list[Matrix]:  # Any: planning's ModelFacts
    """Return a stored model's linear layers, the output layer and tables of words among them."""
    turned = getattr(facts, "turned", False)
    return [
        (tensor.removesuffix(".weight"), tuple(shape[::-1] if turned else shape))
        for tensor, (_, shape) in facts.tensors.items()
        if is_linear(tensor, shape)
    ]


def matrices(
    facts: Any, wanted: str | tuple[str, ...]
) -> list[Matrix]:  # Any: planning's ModelFacts
    """Return the layers that targets mean, by names alone."""
    every = linear(facts)
    names = tuple(wanted.split(",")) if isinstance(wanted, str) else tuple(wanted)
    inside = [(m, s) for m, s in every if _INSIDE.search(m)]
    if names[:1] == ("all-linear",):
        return inside
    if names[:1] == ("auto",):
        return [(m, s) for m, s in inside if m.rpartition(".")[2] in ATTENTION]
    return [(m, s) for m, s in every if ends(m, names)]


def ends(name: str, endings: tuple[str, ...]) -> bool:
    """Say whether a module is meant by one of these whole or last parts of names."""
    return any(name == e or name.endswith(f".{e}") for e in endings)


def some_target(wanted: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Return the targets. Raises: ValueError when none is named."""
    if not wanted:
        raise ValueError("should name a layer; all-linear means every linear one")
    return wanted


def require_targets(facts: Any, wanted: str | tuple[str, ...]) -> None:
    """Refuse names that no stored tensor has, before anything is loaded.

    Of a model of experts only layers outside of them can be meant: in memory a layer's experts are one tensor.
    `facts`: Any, planning's ModelFacts. Raises: ModelError("unknown-target") naming what there is.
    """
    names = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    if names[:1] in (["all-linear"], ["auto"]):
        return
    stored = [f".{tensor}." for tensor in facts.tensors]
    if any(is_expert(tensor) for tensor in facts.tensors):
        stored = [f".{module}." for module, _ in matrices(facts, "all-linear")]
    for name in names:
        if not any(f".{name}." in tensor for tensor in stored):
            raise unknown_target(name, [module for module, _ in matrices(facts, "all-linear")])


def number(value: float) -> float | int:
    """PEFT's own files write whole numbers as integers."""
    return int(value) if value == int(value) else value


def freeze(model: "torch.nn.Module") -> None:
    """Let no parameter be trained."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def put(model: "torch.nn.Module", tensors: "Mapping[str, torch.Tensor]", folder: Path) -> None:
    """Copy tensors into the parameters of those names, which stay frozen.

    Raises: ModelError("adapter-mismatch") when one has no place or another shape.
    """
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        place = parameters.get(name)
        if place is None or place.shape != tensor.shape:
            shape = None if place is None else tuple(place.shape)
            raise mismatch(folder, f"{name!r} is {tuple(tensor.shape)}, the model has {shape}")
        with torch.no_grad():
            place.copy_(tensor)
        place.requires_grad_(False)


def turned(model: "torch.nn.Module") -> set[str]:
    """Name the weights that files keep as [inputs, outputs] (PEFT: fan_in_fan_out)."""
    return {f"{n}.weight" for n, m in model.named_modules() if getattr(m, "turned", False)}


def check_layers(model: "torch.nn.Module", names: list[str], folder: Path) -> None:
    """Raise ModelError("adapter-mismatch" | "adapter-unsupported") unless the model has the layers.

    A config that says other layouts of weights than the model has belongs to another model.
    """
    layout = files.read_json(folder / CONFIG).get("fan_in_fan_out")
    if layout is not None and bool(layout) != bool(turned(model)):
        raise unsupported(folder, "fan_in_fan_out", layout)
    present = dict(model.named_modules())
    missing = [n for n in names if not isinstance(present.get(n), torch.nn.Linear)]
    if missing:
        raise mismatch(folder, f"the model has no linear layer {missing[0]!r}")


def refuse_fields(data: Mapping[str, Any], allowed: Mapping[str, tuple[Any, ...]], folder: Path) -> None:  # fmt: skip
    """Raise ModelError("adapter-unsupported") when a field has a value we would not compute."""
    for key, values in allowed.items():
        if data.get(key, values[0]) not in values:
            raise unsupported(folder, key, data[key])


def mismatch(folder: Path, why: str) -> ModelError:
    """Return the error for an adapter that does not fit the model."""
    return ModelError("adapter-mismatch", f"the adapter {str(folder)!r} does not fit: {why}")


def unsupported(folder: Path, key: str, value: Any) -> ModelError:  # Any: a JSON value
    """Return the error for an adapter that we would not compute exactly."""
    return ModelError(
        "adapter-unsupported",
        f"{str(folder / CONFIG)!r} has {key}={value!r}, which would not be computed exactly",
    )
