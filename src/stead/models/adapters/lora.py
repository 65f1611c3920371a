"""Low-rank adaptation: train B·A beside frozen linear layers; read and written in PEFT's format.

Knows nothing about losses or the loop. Source: arXiv:2106.09685 §4.1; rank-stabilized scaling:
arXiv:2312.03732 eq. 4; file format: PEFT's adapter_config.json and adapter_model.safetensors.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.core import files
from stead.core.errors import ModelError
from stead.core.lazy import lazy
from stead.models.adapter import Adapter, AdapterConfig, Layers, Origin

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", extra="train")

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."  # PEFT wraps the model twice; its keys keep both names


class LoraConfig(AdapterConfig):
    """Rank, scaling and place of the added weights."""

    type: Literal["lora"] = "lora"
    r: int = Field(default=8, ge=1, le=1024, description="rank of the added product")
    alpha: float = Field(
        default=32.0, gt=0, description="the product is scaled by alpha/r (rslora: alpha/√r)"
    )
    dropout: float = Field(
        default=0.1, ge=0, le=0.5, description="share of the product's inputs set to zero"
    )
    target_modules: str | tuple[str, ...] = Field(
        default="all-linear",
        description="all-linear, auto (the attention layers of the architecture), or names",
    )
    rslora: bool = Field(default=False, description="scale by alpha/√r instead of alpha/r")

    @property
    def scaling(self) -> float:
        """The factor of B·A."""
        return self.alpha / (math.sqrt(self.r) if self.rslora else self.r)


class Lora(Adapter):
    """LoRA and rsLoRA."""

    config: LoraConfig
    kind: ClassVar[str] = "adapter"
    can_switch_off: ClassVar[bool] = True

    def wrap(self, model: "torch.nn.Module", layers: Layers, seed: int) -> None:
        """Freeze the model and put A (random) and B (zero) beside each target."""
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        layers.add_low_rank(
            model,
            layers.detect_targets(model, self.config.target_modules),
            rank=self.config.r,
            scaling=self.config.scaling,
            dropout=self.config.dropout,
            seed=seed,
        )

    def save(self, model: "torch.nn.Module", layers: Layers, folder: Path, origin: Origin) -> None:
        """Write PEFT's two files; PEFT itself loads them."""
        tensors = {_to_peft(n): p.detach() for n, p in model.named_parameters() if ".lora_" in n}
        layers.write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
        names = {n.rsplit(".lora_", 1)[0].removeprefix(_PREFIX) for n in tensors}
        files.write_json(folder / CONFIG, self._peft_config(sorted(names), origin))

    def attach(self, model: "torch.nn.Module", layers: Layers, folder: Path) -> None:
        """Put a saved adapter, ours or one that PEFT made, onto its base.

        Raises: ModelError("adapter-mismatch") when a tensor has no place or another shape.
        """
        tensors = {_from_peft(n): t for n, t in layers.read_tensors(folder / WEIGHTS).items()}
        names = sorted({n.rsplit(".lora_", 1)[0] for n in tensors})
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        present = dict(model.named_modules())
        missing = [n for n in names if n not in present]
        if missing:
            raise _mismatch(folder, f"the model has no layer {missing[0]!r}")
        layers.add_low_rank(
            model, names, rank=self.config.r, scaling=self.config.scaling, dropout=0.0, seed=0
        )
        parameters = dict(model.named_parameters())
        for name, tensor in tensors.items():
            place = parameters.get(name)
            if place is None or place.shape != tensor.shape:
                shape = None if place is None else tuple(place.shape)
                raise _mismatch(folder, f"{name!r} is {tuple(tensor.shape)}, the model has {shape}")
            with torch.no_grad():
                place.copy_(tensor)
            place.requires_grad_(False)

    @classmethod
    def read(cls, folder: Path) -> LoraConfig | None:
        """Read PEFT's adapter_config.json. Raises: ModelError("adapter-unsupported")."""
        path = folder / CONFIG
        ours = path.is_file() and files.read_json(path).get("peft_type") == "LORA"
        return read_config(folder) if ours else None

    def _peft_config(self, names: list[str], origin: Origin) -> dict[str, Any]:
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": str(origin.base),
            "r": self.config.r,
            "lora_alpha": _plain(self.config.alpha),
            "lora_dropout": self.config.dropout,
            "use_rslora": self.config.rslora,
            "target_modules": names,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "init_lora_weights": True,
            "modules_to_save": None,
            "use_dora": False,
        }


def read_config(folder: Path) -> LoraConfig:
    """Read PEFT's adapter_config.json as our settings.

    Raises: ModelError("adapter-unsupported") for what we would not compute exactly.
    """
    data = files.read_json(folder / CONFIG)
    plain: dict[str, tuple[Any, ...]] = {  # Any: JSON values
        "bias": ("none", None),
        "use_dora": (False, None),
        "fan_in_fan_out": (False, None),
        "modules_to_save": (None, []),
        "rank_pattern": ({}, None),
        "alpha_pattern": ({}, None),
    }
    if data.get("peft_type") != "LORA":
        raise _unsupported(folder, "peft_type", data.get("peft_type"))
    for key, allowed in plain.items():
        if data.get(key, allowed[0]) not in allowed:
            raise _unsupported(folder, key, data[key])
    return LoraConfig(
        r=data["r"],
        alpha=data["lora_alpha"],
        dropout=data.get("lora_dropout", 0.0),
        rslora=bool(data.get("use_rslora", False)),
    )


def merged_weight(
    base: "torch.Tensor", A: "torch.Tensor", B: "torch.Tensor", scaling: float
) -> "torch.Tensor":
    """Return base + scaling·B·A, computed in float32 and rounded once to the base's type.

    Shapes: base [out, in], A [r, in], B [out, r].
    """
    return torch.addmm(base.float(), B.float(), A.float(), alpha=scaling).to(base.dtype)


def _to_peft(name: str) -> str:
    return f"{_PREFIX}{name}.weight"


def _from_peft(name: str) -> str:
    return name.removeprefix(_PREFIX).replace(".default.", ".").removesuffix(".weight")


def _plain(value: float) -> float | int:
    """PEFT's own files write whole alphas as integers."""
    return int(value) if value == int(value) else value


def _mismatch(folder: Path, why: str) -> ModelError:
    return ModelError("adapter-mismatch", f"the adapter {str(folder)!r} does not fit: {why}")


def _unsupported(folder: Path, key: str, value: Any) -> ModelError:  # Any: a JSON value
    return ModelError(
        "adapter-unsupported", f"{str(folder / CONFIG)!r} has {key}={value!r}, which is not LoRA as we compute it",
    )  # fmt: skip
