"""What LoRA and its relatives share: settings, wrapping, and files that PEFT reads and writes.

Knows nothing about losses, the loop, or how a base is kept in memory. Sources: arXiv:2106.09685 §4.1;
rank-stabilized scaling, arXiv:2312.03732 eq. 4; DoRA, arXiv:2402.09353; LoRA+, arXiv:2402.12354;
PiSSA, arXiv:2404.02948.
"""

import math
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from stead.core.errors import ModelError
from stead.core.lazy import lazy
from stead.core.suggest import nearest
from stead.hub.linear import is_expert
from stead.models import peft_files
from stead.models.adapter import Adapter, AdapterConfig, Layers, Origin

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", extra="train")

_LAYER = re.compile(r"\.(?:layers|h|blocks?|layer)\.(\d+)\.")
_HEADS = ("lm_head", "embed_out", "output_layer")  # the output layer, by architectures' names
_SHIFTED = ("pissa", "loftq")  # starts whose product is not zero
# Inits of PEFT that change the base; all but pissa cannot be repeated from the files alone.
_CHANGED_BASE = ("olora", "loftq", "corda", "lora_ga", "pissa_niter")


class LowRankConfig(AdapterConfig):
    """Rank, scaling and place of the added weights."""

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
    layers: tuple[int, ...] | None = Field(
        default=None, description="only layers of these numbers, from 0; None: all"
    )
    rank_pattern: dict[str, int] = Field(
        default={}, description="other ranks by module name or pattern, as in PEFT"
    )
    alpha_pattern: dict[str, float] = Field(
        default={}, description="other alphas by module name or pattern, as in PEFT"
    )
    rslora: bool = Field(default=False, description="scale by alpha/√r instead of alpha/r")
    dora: bool = Field(
        default=False, description="also train the length of each row of the adapted weights"
    )
    lora_plus: float = Field(
        default=1.0, gt=0, description="learning rate of B as a multiple of A's (LoRA+: 16)"
    )
    init: Literal["true", "gaussian", "pissa", "loftq"] = Field(
        default="true",
        description="start: true (A uniform, as PEFT), gaussian, pissa (the weight's largest directions), loftq (qlora: the rounding error's)",
    )
    bias: Literal["none", "all", "lora_only"] = Field(
        default="none", description="which biases are trained, too"
    )
    modules_to_save: tuple[str, ...] = Field(
        default=(), description="modules that are trained whole and saved beside the adapter"
    )

    @field_validator("target_modules")
    @classmethod
    def _some_target(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return peft_files.some_target(value)

    @model_validator(mode="after")
    def _one_start(self) -> "LowRankConfig":
        if self.init in _SHIFTED and self.dora:
            raise ValueError(f"init={self.init!r} and dora=true do not go together; keep one")
        for key in (*self.rank_pattern, *self.alpha_pattern):
            try:
                re.compile(key)
            except re.error as error:
                raise ValueError(
                    f"the pattern {key!r} is no regular expression: {error}"
                ) from error
        if any(rank < 1 for rank in self.rank_pattern.values()):
            raise ValueError(f"rank_pattern={self.rank_pattern!r} has a rank below 1")
        return self

    def require(self, model: Any) -> None:  # Any: planning's ModelFacts
        """Refuse names of layers that the model does not have. Raises: ModelError("unknown-target")."""
        peft_files.require_targets(model, self.target_modules)

    def trained_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return how many numbers are trained: rank × (in + out) of each target, and what is whole.

        Raises: ModelError("unknown-target") for a name or layer that the model has not.
        """
        shapes = dict(peft_files.matrices(model, self.target_modules))
        strict = not any(map(is_expert, model.tensors))  # whose names in memory are others
        count = sum(
            self.rank(name) * sum(shapes[name]) + (shapes[name][0] if self.dora else 0)
            for name in self.narrowed(list(shapes), strict=strict)
        )
        return count + sum(self._whole(model, n, strict=strict) for n in self.modules_to_save)

    def _whole(self, model: Any, wanted: str, *, strict: bool) -> int:  # Any: planning's ModelFacts
        """Return the numbers of a module that is trained whole; a tied output layer gets its own."""
        sizes = [
            math.prod(shape)
            for name, (_, shape) in model.tensors.items()
            if f".{wanted}." in f".{name}"
        ]
        if not sizes and model.tied and wanted in _HEADS:
            return int(model.vocab_size * model.hidden_size)
        if not sizes and strict:
            raise absent_module(wanted, model.tensors)
        return sum(sizes)

    def narrowed(self, names: list[str], *, strict: bool = True) -> list[str]:
        """Return the targets that lie in the chosen layers; `strict`: refuse what fits none.

        Raises: ModelError("unknown-target") for a layer's number or a pattern that fits none.
        """
        if self.layers is not None:
            numbers = {n: int(m.group(1)) for n in names if (m := _LAYER.search(f".{n}."))}
            absent = set(self.layers) - set(numbers.values())
            if absent and strict:
                has = ", ".join(str(n) for n in sorted(set(numbers.values())))
                raise ModelError(
                    "unknown-target",
                    f"the model has no layer {min(absent)} with a target module (layers with one: {has})",
                )
            names = [n for n in names if numbers.get(n) in self.layers]
        for setting in ("rank_pattern", "alpha_pattern"):
            for key in getattr(self, setting):
                if strict and not any(peft_files.matches(key, n) for n in names):
                    raise peft_files.unknown_target(key, names, f"adapter.{setting}")
        return names

    def rank(self, name: str) -> int:
        """Return the rank of the layer `name`."""
        return peft_files.pattern(self.rank_pattern, name, self.r)

    def scaling(self, name: str) -> float:
        """Return the factor of B·A in the layer `name`."""
        alpha, r = peft_files.pattern(self.alpha_pattern, name, self.alpha), self.rank(name)
        return alpha / (math.sqrt(r) if self.rslora else r)


class LowRankAdapter(Adapter):
    """Trains B·A beside frozen linear layers."""

    config: LowRankConfig
    kind: ClassVar[str] = "adapter"
    can_switch_off: ClassVar[bool] = True

    def switches_off(self) -> bool:
        """Say whether the starting model is still there: not when other weights are trained, too."""
        whole = self.config.bias != "none" or self.config.modules_to_save
        return not whole and self.config.init not in _SHIFTED

    def rate(self, name: str) -> float:
        """Return LoRA+'s factor for B, 1 for all others."""
        return self.config.lora_plus if name.endswith("lora_B") else 1.0

    def prepare(self, model: "torch.nn.Module", layers: Layers, names: list[str]) -> None:
        """Change the frozen base before anything is put beside the layers `names`."""
        return

    def wrap(self, model: "torch.nn.Module", layers: Layers, seed: int) -> None:
        """Freeze the model and put A (random) and B (zero) beside each target."""
        peft_files.freeze(model)
        names = self.config.narrowed(layers.detect_targets(model, self.config.target_modules))
        self.prepare(model, layers, names)
        self._add(model, layers, names, seed, dropout=self.config.dropout, init=self.config.init)
        self._train_biases(model, names)
        for module in _modules(model, self.config.modules_to_save):
            _own(module, train=True)

    def _add(
        self, model: "torch.nn.Module", layers: Layers, names: list[str], seed: int, *,
        dropout: float, init: str,
    ) -> None:  # fmt: skip
        for name in names:
            layers.add_low_rank(
                model, [name], rank=self.config.rank(name), scaling=self.config.scaling(name),
                dropout=dropout, seed=seed, init=init, kind="dora" if self.config.dora else "lora",
            )  # fmt: skip

    def _train_biases(self, model: "torch.nn.Module", names: list[str]) -> None:
        if self.config.bias == "none":
            return
        only = {f"{n}.bias" for n in names}
        for name, parameter in model.named_parameters():
            if name.endswith(".bias") and (self.config.bias == "all" or name in only):
                parameter.requires_grad_(True)

    def save(self, model: "torch.nn.Module", layers: Layers, folder: Path, origin: Origin) -> None:
        """Write PEFT's two files; PEFT itself loads them.

        PiSSA is written as the difference to its start, a plain product of twice the rank over the
        unchanged base: s·(B·A - B₀·A₀) = s·[B, -B₀]·[A; A₀].
        """
        added = {n: m for n, m in model.named_modules() if hasattr(m, "lora")}
        back = peft_files.turned(model)
        tensors = {
            _to_peft(n, added): p.detach().t() if n in back else p.detach()
            for n, p in self._trained(model).items()
        }
        ranks, alphas = {}, {}
        for name, layer in added.items():
            A, B = layer.lora_A.detach(), layer.lora_B.detach()
            start = layer.lora.extra.get("start")
            if start is not None:
                A, B = torch.cat((A, start[0])), torch.cat((B, -start[1]), 1)
            key = f"{peft_files.PREFIX}{name}"
            tensors |= {f"{key}.lora_A.weight": A, f"{key}.lora_B.weight": B}
            ranks[name] = A.shape[0]
            root = math.sqrt(A.shape[0]) if self.config.rslora else A.shape[0]
            alphas[name] = peft_files.number(round(layer.lora.scaling * root, 9))
        layers.write_tensors(folder / peft_files.WEIGHTS, tensors, {"format": "pt"})
        wholes = [n for n, _ in _named_modules(model, self.config.modules_to_save)]
        fields = self._fields(ranks, alphas) | {
            "modules_to_save": wholes if wholes else None,
            "fan_in_fan_out": bool(back),
        }
        peft_files.write(folder, "LORA", origin, fields)

    def _trained(self, model: "torch.nn.Module") -> "dict[str, torch.Tensor]":
        """Return what is saved besides A and B: row lengths, biases, whole modules."""
        wholes = [n for n, _ in _named_modules(model, self.config.modules_to_save)]
        return {
            n: p
            for n, p in model.named_parameters()
            if n.endswith("lora_magnitude_vector")
            or (p.requires_grad and n.endswith(".bias"))
            or any(n.startswith(f"{whole}.") for whole in wholes)
        }

    def _fields(self, ranks: dict[str, int], alphas: dict[str, float]) -> dict[str, Any]:
        """Return the type's own fields; only layers that differ from the first get a pattern."""
        r, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
        return {
            "r": r,
            "lora_alpha": alpha,
            "rank_pattern": {n: v for n, v in ranks.items() if v != r},
            "alpha_pattern": {n: v for n, v in alphas.items() if v != alpha},
            "lora_dropout": self.config.dropout,
            "use_rslora": self.config.rslora,
            "use_dora": self.config.dora,
            "target_modules": sorted(ranks),
            "bias": self.config.bias,
            "init_lora_weights": True,
        }

    def attach(self, model: "torch.nn.Module", layers: Layers, folder: Path) -> None:
        """Put a saved adapter, ours or one that PEFT made, onto its base.

        Raises: ModelError("adapter-mismatch") when a tensor has no place or another shape.
        """
        back = peft_files.turned(model)
        found = _from_peft(layers.read_tensors(folder / peft_files.WEIGHTS))
        tensors = {n: t.t() if n in back else t for n, t in found.items()}
        names = sorted({n.rsplit(".lora_", 1)[0] for n in tensors if ".lora_" in n})
        peft_files.freeze(model)
        peft_files.check_layers(model, names, folder)
        self.prepare(model, layers, names)
        init = "pissa" if self.config.init == "pissa" else "true"  # its base is changed again
        self._add(model, layers, names, 0, dropout=0.0, init=init)
        wholes = {n.rpartition(".")[0] for n in tensors if ".lora_" not in n and n[-5:] != ".bias"}
        for whole in sorted(wholes & dict(model.named_modules()).keys()):
            _own(model.get_submodule(whole), train=False)
        peft_files.put(model, tensors, folder)

    @classmethod
    def settings(cls, data: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Return PEFT's fields under our names.

        Raises: ModelError("adapter-unsupported") for what we would not compute exactly.
        """
        empty: dict[str, tuple[Any, ...]] = {  # Any: JSON values
            "lora_bias": (False, None),
            "layer_replication": (None, []),
            "target_parameters": (None, []),
            "trainable_token_indices": (None, []),
            "alora_invocation_tokens": (None, []),
            "use_qalora": (False, None),
            "megatron_config": (None,),
        }
        peft_files.refuse_fields(data, empty, folder)
        init = data.get("init_lora_weights", True)
        if isinstance(init, str) and init.startswith(_CHANGED_BASE):
            raise peft_files.unsupported(folder, "init_lora_weights", init)
        return {
            "r": data["r"],
            "alpha": data["lora_alpha"],
            "dropout": min(data.get("lora_dropout", 0.0), 0.5),
            "rslora": bool(data.get("use_rslora", False)),
            "dora": bool(data.get("use_dora", False)),
            "rank_pattern": _given(data, "rank_pattern", {}),
            "alpha_pattern": _given(data, "alpha_pattern", {}),
            "bias": _given(data, "bias", "none"),
            "modules_to_save": tuple(_given(data, "modules_to_save", ())),
            "init": "pissa" if init == "pissa" else "true",
        }


def absent_module(wanted: str, tensors: Iterable[str]) -> ModelError:
    """Return the error for a module that `modules_to_save` names and the model has not, with the nearest."""
    near = nearest(
        wanted, {name.split(".")[-2] for name in tensors if "." in name} | set(_HEADS[:1])
    )
    ask = f"; did you mean {near!r}?" if near is not None else ""
    return ModelError("unknown-target", f"the model has no module {wanted!r} to save{ask}")


def _given(data: dict[str, Any], key: str, default: Any) -> Any:  # Any: JSON values
    value = data.get(key)
    return default if value is None else value


def _to_peft(name: str, adapted: Collection[str]) -> str:
    """Return the file's key of a parameter; PEFT moves an adapted layer's own ones one level down."""
    module, _, leaf = name.rpartition(".")
    inner = f"{module}.base_layer.{leaf}" if module in adapted and leaf == "bias" else name
    return f"{peft_files.PREFIX}{inner}"


def _from_peft(tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Return tensors under our parameters' names."""
    found = {}
    for key, tensor in tensors.items():
        name = peft_files.plain_name(key)
        found[name.removesuffix(".weight") if ".lora_" in name else name] = tensor
    return found


def _named_modules(
    model: "torch.nn.Module", wanted: tuple[str, ...]
) -> "list[tuple[str, torch.nn.Module]]":
    found = [
        (n, m)
        for n, m in model.named_modules()
        if any(n == w or n.endswith(f".{w}") for w in wanted)
    ]
    for name in wanted:
        if not any(n == name or n.endswith(f".{name}") for n, _ in found):
            raise absent_module(name, [n for n, _ in model.named_parameters()])
    return found


def _modules(model: "torch.nn.Module", wanted: tuple[str, ...]) -> "list[torch.nn.Module]":
    return [m for _, m in _named_modules(model, wanted)]


def _own(module: "torch.nn.Module", *, train: bool) -> None:
    """Give a module parameters of its own, apart from what it was tied to."""
    for name, parameter in list(module.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        copy = torch.nn.Parameter(parameter.detach().clone(), requires_grad=train)
        setattr(module.get_submodule(owner), leaf, copy)
