"""What an adapter's files do to each tensor of a base: products added, vectors multiplied, wholes put in.

Knows nothing about bases or writing. Light: numpy only. Kinds and fields are PEFT's: LORA (r,
lora_alpha, use_rslora, use_dora, rank_pattern, alpha_pattern, fan_in_fan_out, modules_to_save, biases),
ADALORA (init_r, lora_alpha) and IA3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stead.core import files
from stead.core.errors import ModelError, NotFound
from stead.core.lazy import lazy
from stead.models import peft_files, weights
from stead.models.weights import Weights

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[np.float32]
else:
    np = lazy("numpy", extra="data")

MERGEABLE = ("LORA", "ADALORA", "IA3")
_PROMPTS = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
_PARTS = {
    ".lora_A.weight": "a",
    ".lora_B.weight": "b",
    ".lora_A": "a",
    ".lora_B": "b",
    ".lora_E": "e",
    ".lora_embedding_A": "a",
    ".lora_embedding_B": "b",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".ia3_l": "scale",
}
_UNKNOWN_FIELDS = ("layer_replication", "target_parameters", "megatron_config", "eva_config")
# Inits of PEFT that change the base, which the files do not hold.
_CHANGED_BASE = ("pissa", "olora", "loftq", "corda", "lora_ga")
_ROOM = 1e-5  # AdaLoRA divides by the rank plus this, as PEFT does


@dataclass(frozen=True, slots=True)
class Delta:
    """What an adapter does to one weight or bias: its tensors by part, the module, the scaling.

    Parts: "a", "b" of a product; "e", its singular values; "magnitude", row lengths; "scale".
    """

    module: str
    scaling: float = 1.0
    rank: int | None = None  # what the config says; None: what the tensors say
    parts: dict[str, str] = field(default_factory=dict)
    turned: bool = False  # the weight is stored transposed: embeddings, fan_in_fan_out
    bias: bool = False

    def apply(self, weight: "Array", read: "Callable[[str], Array]") -> "Array":
        """Return the changed weight. Shapes: as the weight."""
        if "scale" in self.parts:
            scale = read(self.parts["scale"])
            return weight * (scale.reshape(-1) if self.bias else scale.T if self.turned else scale)
        a, b = read(self.parts["a"]), read(self.parts["b"])
        if "e" in self.parts:
            a = a * read(self.parts["e"]).reshape(-1, 1)
        change = (b @ a) * np.float32(self.scaling)
        merged = weight + (change.T if self.turned else change)
        if "magnitude" not in self.parts:
            return merged
        # DoRA, arXiv:2402.09353 eq. 5: rescale each output row.
        return _rescale(merged, read(self.parts["magnitude"]).reshape(-1), self.turned)

    def check(self, want: tuple[int, ...], shape: Callable[[str], tuple[int, ...]]) -> None:
        """Raise ModelError("adapter-torn" | "adapter-shape") unless the parts fit a weight."""
        if "scale" in self.parts:
            self._check_scale(want, shape(self.parts["scale"]))
            return
        if not {"a", "b"} <= set(self.parts):
            raise ModelError("adapter-torn", f"{self.module!r} has only {sorted(self.parts)}")
        a, b = (shape(self.parts[p]) for p in ("a", "b"))
        out = (b[0], a[1])
        rank = a[0] if self.rank is None else self.rank
        if (out[::-1] if self.turned else out) != want or a[0] != b[1] or a[0] != rank:
            raise ModelError(
                "adapter-shape",
                f"{self.module!r}: A {list(a)}, B {list(b)}, rank {rank} do not fit "
                f"the base's {list(want)}",
            )

    def _check_scale(self, want: tuple[int, ...], scale: tuple[int, ...]) -> None:
        flat = (max(scale),)
        fits = flat == want if self.bias else len(scale) == 2 and self._spans(want, scale)
        if not fits:
            raise ModelError(
                "adapter-shape",
                f"{self.module!r}: a vector {list(scale)} does not fit {list(want)}",
            )

    def _spans(self, want: tuple[int, ...], scale: tuple[int, ...]) -> bool:
        across = want[::-1] if self.turned else want
        return scale in ((across[0], 1), (1, across[1]))


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's folder: its config, its tensors, and what each of them changes in the base."""

    folder: Path
    config: dict[str, Any]  # Any: JSON values
    tensors: Weights
    deltas: dict[str, Delta]  # base tensor -> change
    replaced: dict[str, str]  # base tensor -> adapter tensor that takes its place
    rounding: dict[str, Any]  # how the base was quantized in training; {} when it was not

    @classmethod
    def open(cls, folder: Path) -> "Adapter":
        """Read an adapter's config and header. Raises: ModelError(…) for what cannot be merged."""
        config = read_config(folder)
        path = folder / peft_files.WEIGHTS
        if not path.is_file():
            raise ModelError("no-adapter", f"{str(folder)!r} has no {peft_files.WEIGHTS!r}")
        rounding = folder / peft_files.QUANTIZATION
        found = cls(
            folder, config, Weights(folder, weights.read_file(path)), {}, {},
            files.read_json(rounding) if rounding.is_file() else {},
        )  # fmt: skip
        for name in found.tensors.names():
            found._sort(name)
        return found

    @property
    def touched(self) -> set[str]:
        """The base tensors it changes."""
        return set(self.deltas) | set(self.replaced)

    def scale_biases(self, names: set[str]) -> None:
        """Scale the biases of `names`, too, where (IA)³ scales a layer's outputs."""
        for delta in list(self.deltas.values()):
            scale, bias = delta.parts.get("scale"), f"{delta.module}.bias"
            if scale is not None and bias in names and self.tensors.shape(scale)[1] == 1:
                self.deltas[bias] = replace(delta, bias=True)

    def _sort(self, name: str) -> None:
        """File one adapter tensor as part of a delta or as a whole replacement."""
        plain = name.removeprefix(peft_files.PREFIX)
        for ending, part in _PARTS.items():
            if plain.endswith(ending):
                module = plain.removesuffix(ending)
                turned = ".lora_embedding" in ending or bool(self.config.get("fan_in_fan_out"))
                weight = f"{module}.weight"
                self.deltas.setdefault(weight, _delta(module, self.config, turned=turned))
                self.deltas[weight].parts[part] = name
                return
        if "lora_" in plain or "token_adapter" in plain:
            raise ModelError("adapter-field", f"the adapter tensor {name!r} cannot be merged")
        self.replaced[peft_files.plain_name(plain)] = name


def read_config(folder: Path) -> dict[str, Any]:  # Any: JSON values
    """Read adapter_config.json. Raises: ModelError("no-adapter" | "adapter-type" | "adapter-field")."""
    path = folder / peft_files.CONFIG
    try:
        config: dict[str, Any] = files.read_json(path)
    except NotFound as error:
        raise ModelError("no-adapter", f"{str(folder)!r} has no {peft_files.CONFIG!r}") from error
    except ValueError as error:
        raise ModelError("no-adapter", f"{str(path)!r} is not JSON: {error}") from error
    kind = config.get("peft_type")
    if kind in _PROMPTS:
        raise ModelError(
            "adapter-type",
            f"an adapter of type {kind!r} cannot be merged: its virtual tokens are inputs, not weights",
            hint="stead export RUN --format adapter",
        )
    if kind not in MERGEABLE:
        raise ModelError(
            "adapter-type",
            f"an adapter of type {kind!r} cannot be merged: it is no change of weights that we know "
            f"(known: {', '.join(MERGEABLE)})",
        )
    for name in _UNKNOWN_FIELDS:
        if config.get(name):
            raise ModelError(
                "adapter-field", f"adapters with {name}={config[name]!r} cannot be merged"
            )
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.startswith(_CHANGED_BASE):
        raise ModelError(
            "adapter-field",
            f"init_lora_weights={init!r} changed the base, which the files do not hold; "
            "save it as a difference (PEFT: path_initial_model_for_weight_conversion)",
        )
    return config


def _delta(module: str, config: dict[str, Any], *, turned: bool) -> Delta:
    if config["peft_type"] == "IA3":
        return Delta(module, turned=turned)
    if config["peft_type"] == "ADALORA":
        alpha, rank = float(config["lora_alpha"]), float(config["init_r"])
        return Delta(module, (alpha if alpha > 0 else rank) / (rank + _ROOM), turned=turned)
    rank = int(peft_files.pattern(config.get("rank_pattern"), module, config["r"]))
    alpha = float(peft_files.pattern(config.get("alpha_pattern"), module, config["lora_alpha"]))
    if rank < 1:
        raise ModelError("adapter-field", f"the rank of {module!r} is {rank}")
    scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Delta(module, scaling, int(rank), turned=turned)


def _rescale(merged: "Array", magnitude: "Array", turned: bool) -> "Array":
    rows = merged.T if turned else merged
    scaled = rows * (magnitude / np.linalg.norm(rows, axis=1))[:, None]
    return scaled.T if turned else scaled
