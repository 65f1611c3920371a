"""(IA)³: train one vector per key, value and feed-forward layer that scales what flows through it.

Knows nothing about losses or the loop. Source: arXiv:2205.05638 §3.3; file format: PEFT's.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.core.errors import ModelError
from stead.hub.linear import is_expert
from stead.models import peft_files
from stead.models.adapter import Adapter, AdapterConfig, Layers, Origin

if TYPE_CHECKING:
    import torch

# Keys, values, both in one, and the layer that reads the feed-forward activations, by architectures' names.
_KEYS = ("k_proj", "key", "k_lin", "key_proj")
_VALUES = ("v_proj", "value", "v_lin", "value_proj")
_FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv")
_INNER = ("down_proj", "fc2", "lin2", "w2", "dense_4h_to_h", "mlp.c_proj")
_USUAL = (*_KEYS, *_VALUES, *_FUSED, *_INNER)


class IA3Config(AdapterConfig):
    """Which layers are scaled."""

    type: Literal["ia3"] = "ia3"
    target_modules: tuple[str, ...] = Field(
        default=(), description="names of layers to scale; none: keys, values, feed-forward"
    )
    feedforward_modules: tuple[str, ...] = Field(
        default=(),
        description="those of them whose inputs are scaled, not the outputs; none: by name",
    )

    def require(self, model: Any) -> None:  # Any: planning's ModelFacts
        """Refuse names of layers that the model does not have. Raises: ModelError("unknown-target")."""
        peft_files.require_targets(model, self.target_modules)

    def kept(self, model: Any) -> float:  # Any: planning's ModelFacts
        """Return the numbers per token and layer that are kept for the vectors: what they multiply."""
        return float(self.trained_parameters(model) / max(1, model.layers))

    def trained_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return how many numbers are trained: a layer's inputs or outputs each."""
        inner = self.feedforward_modules if self.feedforward_modules else _INNER
        if self.target_modules:
            found = peft_files.matrices(model, self.target_modules)
        else:
            found = [(n, s) for n, s in peft_files.linear(model) if peft_files.ends(n, _USUAL)]
        if not any(map(is_expert, model.tensors)):  # whose names in memory are others
            self.check([name for name, _ in found])
        return sum(shape[1] if peft_files.ends(name, inner) else shape[0] for name, shape in found)

    def check(self, names: list[str]) -> None:
        """Refuse feed-forward layers that are no targets. Raises: ModelError("unknown-target")."""
        for name in self.feedforward_modules:
            if not any(peft_files.ends(n, (name,)) for n in names):
                known = ", ".join(sorted({n.rpartition(".")[2] for n in names}))
                raise ModelError(
                    "unknown-target",
                    f"adapter.feedforward_modules names {name!r}, which is none of the scaled layers ({known})",
                )


class IA3(Adapter):
    """Train only scales of layers: a few thousand numbers.

    Vectors that begin at one: the model begins as it was.
    """

    config: IA3Config
    kind: ClassVar[str] = "adapter"
    can_switch_off: ClassVar[bool] = True
    lr_factor: ClassVar[float] = 15.0  # few weights, far to go: 3e-3 where LoRA takes 2e-4 (§4)

    def wrap(self, model: "torch.nn.Module", layers: Layers, seed: int) -> None:
        """Freeze the model and put a vector of ones on each target; `seed` is not needed."""
        peft_files.freeze(model)
        given = self.config.target_modules
        wanted = given if given else self._usual(model, layers)
        names = layers.detect_targets(model, wanted)
        inner = self.config.feedforward_modules if self.config.feedforward_modules else _INNER
        self.config.check(names)
        layers.add_scales(model, names, of_input=[n for n in names if peft_files.ends(n, inner)])

    def _usual(self, model: "torch.nn.Module", layers: Layers) -> tuple[str, ...]:
        """Return the short names this model has for keys, values and the feed-forward output."""
        names = layers.detect_targets(model, "all-linear")
        found = tuple(k for k in _USUAL if any(peft_files.ends(n, (k,)) for n in names))
        return found if found else tuple(sorted({n.rsplit(".", 1)[-1] for n in names}))

    def save(self, model: "torch.nn.Module", layers: Layers, folder: Path, origin: Origin) -> None:
        """Write PEFT's two files; PEFT itself loads them."""
        tensors, inner = {}, []
        for name, layer in model.named_modules():
            if hasattr(layer, "ia3_l"):
                scale = layer.ia3_l.detach()
                key = f"{peft_files.PREFIX}{name}.ia3_l"
                tensors[key] = scale[None] if layer.of_input else scale[:, None]
                inner += [name] if layer.of_input else []
        layers.write_tensors(folder / peft_files.WEIGHTS, tensors, {"format": "pt"})
        names = [k.removeprefix(peft_files.PREFIX).removesuffix(".ia3_l") for k in tensors]
        fields = {
            "target_modules": sorted(names),
            "feedforward_modules": sorted(inner),
            "fan_in_fan_out": bool(peft_files.turned(model)),
            "modules_to_save": None,
            "init_ia3_weights": True,
        }
        peft_files.write(folder, "IA3", origin, fields)

    @classmethod
    def read(cls, folder: Path) -> IA3Config | None:
        """Read PEFT's adapter_config.json. Raises: ModelError("adapter-unsupported")."""
        data = peft_files.read(folder, "IA3")
        if data is None:
            return None
        allowed: dict[str, tuple[Any, ...]] = {  # Any: JSON values
            "modules_to_save": (None, []),
        }  # fmt: skip
        peft_files.refuse_fields(data, allowed, folder)
        return IA3Config()  # which layers, and which side of them, the tensors say

    def attach(self, model: "torch.nn.Module", layers: Layers, folder: Path) -> None:
        """Put saved vectors, ours or PEFT's, onto their base.

        Raises: ModelError("adapter-mismatch") when one has no place or another shape.
        """
        saved = layers.read_tensors(folder / peft_files.WEIGHTS)
        found = {peft_files.plain_name(k).removesuffix(".ia3_l"): t for k, t in saved.items()}
        peft_files.freeze(model)
        peft_files.check_layers(model, sorted(found), folder)
        of_input = [n for n, t in found.items() if t.shape[0] == 1]
        layers.add_scales(model, found, of_input=of_input)
        flat = {f"{n}.ia3_l": t.reshape(-1) for n, t in found.items()}
        peft_files.put(model, flat, folder)
