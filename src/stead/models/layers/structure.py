"""Heads and neurons of a decoder: which weights belong to each, and a model without some of them.

Knows nothing about which are worth keeping. Light: torch is used when called. A head is a key head
with all query heads that read it, so that grouped attention stays whole. Legend: L layers, G key heads, F
neurons, D head size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from stead.core.errors import ModelError
from stead.core.lazy import lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch", extra="train")

Kind = Literal["heads", "neurons"]
_ROWS = {"heads": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
         "neurons": ("mlp.gate_proj", "mlp.up_proj")}  # fmt: skip
_COLUMNS = {"heads": "self_attn.o_proj", "neurons": "mlp.down_proj"}


@dataclass(frozen=True, slots=True)
class Unit:
    """The weights of one layer's heads or neurons: parameter name → the axis that counts them."""

    name: str  # "model.layers.0:neurons"
    kind: Kind
    count: int
    axes: dict[str, int]

    def shares(self, tensor: "Tensor", axis: int) -> "Tensor":
        """Return a view with one row per unit. Shapes: → [count, rest]."""
        return tensor.movedim(axis, 0).reshape(self.count, -1)

    def spread(self, mask: "Tensor", tensor: "Tensor", axis: int) -> "Tensor":
        """Return the units' mask in a shape that multiplies the tensor along its axis."""
        wide = mask.to(tensor.device).repeat_interleave(tensor.shape[axis] // self.count)
        return wide if tensor.ndim == 1 else wide.unsqueeze(1 - axis)


def units(model: Any, kinds: tuple[Kind, ...]) -> list[Unit]:  # Any: a transformers model
    """Return the units of every layer. Raises: ModelError("no-structure") for another architecture."""
    config = model.config.get_text_config()
    own = getattr(config, "num_key_value_heads", None)
    counts: dict[Kind, int] = {
        "heads": int(config.num_attention_heads if own is None else own),
        "neurons": int(getattr(config, "intermediate_size", 0)),
    }
    parameters = dict(model.named_parameters())
    layers = sorted({n.rsplit(".self_attn.", 1)[0] for n in parameters if ".self_attn." in n})
    found = []
    for layer in layers:
        for kind in kinds:
            axes = {f"{layer}.{n}.weight": 0 for n in _ROWS[kind]}
            axes |= {f"{layer}.{n}.bias": 0 for n in _ROWS[kind] if f"{layer}.{n}.bias" in parameters}  # fmt: skip
            axes[f"{layer}.{_COLUMNS[kind]}.weight"] = 1
            _check(model, axes, parameters, counts[kind])
            found.append(Unit(f"{layer}:{kind}", kind, counts[kind], axes))
    if not found:
        raise _unknown(model, "no layer has self_attn")
    return found


def _check(model: Any, axes: Mapping[str, int], parameters: Mapping[str, Any], count: int) -> None:
    for name, axis in axes.items():
        if name not in parameters:
            raise _unknown(model, f"it has no {name!r}")
        if not count or parameters[name].shape[axis] % count:
            raise _unknown(model, f"{name!r} cannot be cut into {count}")


def _unknown(model: Any, why: str) -> ModelError:
    kind = type(model).__name__
    return ModelError(
        "no-structure", f"heads and neurons of a {kind!r} cannot be told apart: {why}"
    )


def cut(
    model: Any, found: list[Unit], masks: "Mapping[str, Tensor]"
) -> "tuple[dict[str, Tensor], dict[str, int]]":
    """Return the smaller weights by parameter name, and the config fields that change.

    Every layer must keep equally many: transformers has one number for all of them.
    """
    parameters = dict(model.named_parameters())
    tensors: dict[str, Tensor] = {}
    kept: dict[str, int] = {}
    for unit in found:
        place = parameters[next(iter(unit.axes))].device
        index = masks[unit.name].to(place).nonzero().squeeze(1)
        kept[unit.kind] = int(index.shape[0])
        for name, axis in unit.axes.items():
            whole = tensors.get(name, parameters[name].detach())
            size = whole.shape[axis] // unit.count
            places = (index[:, None] * size + torch.arange(size, device=index.device)).reshape(-1)
            tensors[name] = whole.index_select(axis, places)
    return tensors, _fields(model.config.get_text_config(), kept)


def _fields(config: Any, kept: Mapping[str, int]) -> dict[str, int]:
    fields = {}
    if "neurons" in kept:
        fields["intermediate_size"] = kept["neurons"]
    if "heads" in kept:
        heads = int(config.num_attention_heads)
        size = getattr(config, "head_dim", None)
        own = getattr(config, "num_key_value_heads", None)
        groups = heads if own is None else int(own)
        fields["head_dim"] = int(config.hidden_size // heads if size is None else size)
        fields["num_attention_heads"] = kept["heads"] * (heads // groups)
        fields["num_key_value_heads"] = kept["heads"]
    return fields
