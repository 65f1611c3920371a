"""AdaLoRA: low-rank products P·Λ·Q whose directions compete for a budget that shrinks while training.

Knows nothing about losses or the loop. Sources: arXiv:2303.10512 (importance eq. 8-10, budget eq. 12,
orthogonality eq. 4 as the authors' code averages it); file format: PEFT's.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from stead.core.lazy import lazy
from stead.models import peft_files
from stead.models.adapter import Adapter, AdapterConfig, Layers, Origin, Step

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", extra="train")

_ROOM = 1e-5  # PEFT divides by the rank plus this
_PARTS = ("lora_A", "lora_B", "lora_E")


class AdaLoraConfig(AdapterConfig):
    """Ranks at the start and at the end, and when they are cut."""

    type: Literal["adalora"] = "adalora"
    init_r: int = Field(default=12, ge=1, le=1024, description="rank of each layer at the start")
    target_r: int = Field(default=8, ge=1, le=1024, description="mean rank at the end")
    alpha: float = Field(
        default=32.0, gt=0, description="the product is scaled by alpha/init_r, as in PEFT"
    )
    dropout: float = Field(
        default=0.1, ge=0, le=0.5, description="share of the product's inputs set to zero"
    )
    target_modules: str | tuple[str, ...] = Field(
        default="all-linear",
        description="all-linear, auto (the attention layers of the architecture), or names",
    )
    tinit: float = Field(
        default=0.1, ge=0, description="share of the steps (or steps, from 1) before the first cut"
    )
    tfinal: float = Field(
        default=0.3, ge=0, description="share of the steps (or steps, from 1) after the last cut"
    )
    delta_t: int = Field(default=1, ge=1, description="steps between cuts")
    beta1: float = Field(default=0.85, gt=0, lt=1, description="smoothing of the importance")
    beta2: float = Field(default=0.85, gt=0, lt=1, description="smoothing of its uncertainty")
    orth_reg_weight: float = Field(
        default=0.5, ge=0, description="weight of the penalty that keeps P and Q orthogonal"
    )

    @field_validator("target_modules")
    @classmethod
    def _some_target(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return peft_files.some_target(value)

    @model_validator(mode="after")
    def _shrinks(self) -> "AdaLoraConfig":
        if self.target_r > self.init_r:
            raise ValueError(f"target_r={self.target_r} is above init_r={self.init_r}")
        if max(self.tinit, self.tfinal) < 1 and self.tinit + self.tfinal >= 1:
            raise ValueError(
                f"tinit={self.tinit} and tfinal={self.tfinal} leave no steps to cut in"
            )
        return self

    def require(self, model: Any) -> None:  # Any: planning's ModelFacts
        """Refuse names of layers that the model does not have. Raises: ModelError("unknown-target")."""
        peft_files.require_targets(model, self.target_modules)

    state_bytes: ClassVar[float] = 8.0  # per trained number: its importance and its uncertainty

    def saved_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return how many numbers the result holds: ranks that were cut are left out."""
        return int(self.trained_parameters(model) * self.target_r / self.init_r)

    def trained_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return how many numbers are trained at the start."""
        found = peft_files.matrices(model, self.target_modules)
        return sum(self.init_r * (sum(shape) + 1) for _, shape in found)


class AdaLora(Adapter):
    """LoRA that moves its size to the layers that need it.

    Importance of a direction: its singular value's and the means of its vectors'.
    """

    config: AdaLoraConfig
    kind: ClassVar[str] = "adapter"
    can_switch_off: ClassVar[bool] = True
    lr_factor: ClassVar[float] = 2.5  # the paper's rates are about 5e-4 (appendix C, D)

    def __init__(self, config: AdaLoraConfig) -> None:
        super().__init__(config)
        self._importance: dict[str, torch.Tensor] = {}
        self._uncertainty: dict[str, torch.Tensor] = {}
        self._kept: dict[str, torch.Tensor] = {}  # layer → bool [R], once the budget is final
        self._total = 0

    def wrap(self, model: "torch.nn.Module", layers: Layers, seed: int) -> None:
        """Freeze the model and put Q and P (random) and Λ (zero) beside each target."""
        peft_files.freeze(model)
        names = layers.detect_targets(model, self.config.target_modules)
        layers.add_low_rank(
            model, names, rank=self.config.init_r, scaling=self._scaling(self.config.init_r),
            dropout=self.config.dropout, seed=seed, kind="adalora",
        )  # fmt: skip

    def _scaling(self, rank: int) -> float:
        return self.config.alpha / (rank + _ROOM)

    def penalty(self, model: "torch.nn.Module") -> "torch.Tensor | None":
        """Return the mean of |Q·Qᵀ - 1| and |Pᵀ·P - 1| over all layers, times its weight."""
        if self.config.orth_reg_weight == 0:
            return None
        found = []
        for _, layer in _ranked(model):
            for product in (layer.lora_A @ layer.lora_A.t(), layer.lora_B.t() @ layer.lora_B):
                one = torch.eye(product.shape[0], device=product.device)
                found.append(torch.linalg.matrix_norm(product - one))
        return torch.stack(found).mean() * self.config.orth_reg_weight

    def after_step(self, step: Step) -> bool:
        """Weigh what changed, and cut the least important directions when it is time."""
        self._total = step.total
        first, last = self._phases(step.total)
        names = sorted(n.rsplit(".", 1)[0] for n in step.weights if n.endswith("lora_E"))
        if step.step > last and self._kept:
            return self._cut(step)
        if step.step < last:
            self._weigh(step)
        if step.step <= first or (step.step != last and step.step % self.config.delta_t):
            return False
        kept = self._choose(names, self._budget(step.step, first, last, len(names)))
        if step.step >= last:
            self._kept = kept
        return self._cut(step, kept)

    def _phases(self, total: int) -> tuple[int, int]:
        """Return the last step before any cut, and the step of the last cut."""
        config = self.config
        first = int(config.tinit if config.tinit >= 1 else config.tinit * total)
        final = int(config.tfinal if config.tfinal >= 1 else config.tfinal * total)
        return first, max(first + 1, total - final)

    def _budget(self, step: int, first: int, last: int, layers: int) -> int:
        """Return how many directions may stay: from all to the target along a cubic (eq. 12)."""
        begin, end = self.config.init_r * layers, self.config.target_r * layers
        if step >= last:
            return end
        left = 1 - (step - first) / (last - first)
        return int((begin - end) * left**3 + end)

    def _weigh(self, step: Step) -> None:
        """Smooth |weight·gradient| and how far it strays from its mean (eq. 8, 9)."""
        for name, gradient in step.gradients.items():
            if not name.endswith(_PARTS):
                continue
            now = (step.weights[name].detach() * gradient).abs()
            before = self._importance.get(name, torch.zeros_like(now)).to(now.device)
            mean = self.config.beta1 * before + (1 - self.config.beta1) * now
            spread = self._uncertainty.get(name, torch.zeros_like(now)).to(now.device)
            stray = (now - mean).abs()
            self._importance[name] = mean
            self._uncertainty[name] = self.config.beta2 * spread + (1 - self.config.beta2) * stray

    def _score(self, name: str) -> "torch.Tensor":
        return self._importance[name] * self._uncertainty[name]

    def _choose(self, names: list[str], budget: int) -> "dict[str, torch.Tensor]":
        """Keep the `budget` directions of highest importance over all layers (eq. 10)."""
        scores = {
            n: self._score(f"{n}.lora_E").view(-1)
            + self._score(f"{n}.lora_A").mean(1)
            + self._score(f"{n}.lora_B").mean(0)
            for n in names
        }
        every = torch.cat(list(scores.values()))
        out = every.numel() - budget
        if out <= 0:
            return {n: torch.ones_like(s, dtype=torch.bool) for n, s in scores.items()}
        limit = torch.kthvalue(every, out).values
        return {n: s > limit for n, s in scores.items()}

    def _cut(self, step: Step, kept: "dict[str, torch.Tensor] | None" = None) -> bool:
        """Set the singular values of dropped directions to zero."""
        for name, mask in (self._kept if kept is None else kept).items():
            values = step.weights[f"{name}.lora_E"].detach()
            values.mul_(mask[:, None].to(values.device))
        return True

    def state(self) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":  # Any: JSON values
        """Return importance, uncertainty and the final choice."""
        tensors = {f"importance:{n}": t for n, t in self._importance.items()}
        tensors |= {f"uncertainty:{n}": t for n, t in self._uncertainty.items()}
        tensors |= {f"kept:{n}": t for n, t in self._kept.items()}
        return tensors, {"total": self._total}

    def restore(self, tensors: "dict[str, torch.Tensor]", values: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        places = {
            "importance": self._importance, "uncertainty": self._uncertainty, "kept": self._kept,
        }  # fmt: skip
        for key, tensor in tensors.items():
            kind, _, name = key.partition(":")
            places[kind][name] = tensor
        self._total = int(values["total"])

    def save(self, model: "torch.nn.Module", layers: Layers, folder: Path, origin: Origin) -> None:
        """Write PEFT's two files with the directions that are left; PEFT itself loads them."""
        tensors, patterns = {}, {}
        for name, layer in _ranked(model):
            alive = layer.lora_E.detach().view(-1) != 0  # best or averaged weights may differ
            chosen = self._kept.get(name, torch.ones_like(alive)).to(alive.device)
            kept = chosen | alive
            key = f"{peft_files.PREFIX}{name}"
            tensors[f"{key}.lora_A"] = layer.lora_A.detach()[kept]
            tensors[f"{key}.lora_B"] = layer.lora_B.detach()[:, kept]
            tensors[f"{key}.lora_E"] = layer.lora_E.detach()[kept]
            patterns[f"{name}.lora_E"] = kept.tolist()
        layers.write_tensors(folder / peft_files.WEIGHTS, tensors, {"format": "pt"})
        first, last = self._phases(max(self._total, 2))
        fields = {
            "target_modules": sorted(n.removesuffix(".lora_E") for n in patterns),
            "init_r": self.config.init_r, "target_r": self.config.target_r,
            "lora_alpha": peft_files.number(self.config.alpha), "lora_dropout": self.config.dropout,
            "tinit": first, "tfinal": max(self._total, 2) - last, "deltaT": self.config.delta_t,
            "beta1": self.config.beta1, "beta2": self.config.beta2,
            "orth_reg_weight": self.config.orth_reg_weight, "total_step": max(self._total, 2),
            "rank_pattern": patterns, "bias": "none",
            "fan_in_fan_out": bool(peft_files.turned(model)),
            "modules_to_save": None, "init_lora_weights": True,
        }  # fmt: skip
        peft_files.write(folder, "ADALORA", origin, fields)

    @classmethod
    def read(cls, folder: Path) -> AdaLoraConfig | None:
        """Read PEFT's adapter_config.json. Raises: ModelError("adapter-unsupported")."""
        data = peft_files.read(folder, "ADALORA")
        if data is None:
            return None
        allowed: dict[str, tuple[Any, ...]] = {  # Any: JSON values
            "modules_to_save": (None, []), "bias": ("none", None),
        }  # fmt: skip
        peft_files.refuse_fields(data, allowed, folder)
        alpha = data["lora_alpha"] if data["lora_alpha"] > 0 else data["init_r"]
        return AdaLoraConfig(
            init_r=data["init_r"], target_r=min(data["target_r"], data["init_r"]), alpha=alpha
        )

    def attach(self, model: "torch.nn.Module", layers: Layers, folder: Path) -> None:
        """Put a saved adapter, ours or PEFT's, onto its base: P·Λ·Q becomes a plain product.

        Raises: ModelError("adapter-mismatch") when a tensor has no place or another shape.
        """
        saved = layers.read_tensors(folder / peft_files.WEIGHTS)
        found = {peft_files.plain_name(k): t for k, t in saved.items()}
        names = sorted({n.rsplit(".lora_", 1)[0] for n in found})
        peft_files.freeze(model)
        peft_files.check_layers(model, names, folder)
        for name in names:
            A, B, E = (found[f"{name}.{part}"] for part in _PARTS)
            if A.shape[0] == 0:
                continue  # every direction of this layer was dropped
            layers.add_low_rank(
                model, [name], rank=A.shape[0], scaling=self._scaling(self.config.init_r),
                dropout=0.0, seed=0,
            )  # fmt: skip
            product = {f"{name}.lora_A": A * E.view(-1, 1), f"{name}.lora_B": B}
            peft_files.put(model, product, folder)


def _ranked(model: "torch.nn.Module") -> "list[tuple[str, Any]]":  # Any: lowrank layers
    return [(n, m) for n, m in model.named_modules() if hasattr(m, "lora_E")]
