"""What one layer keeps of a token for the backward pass, where autograd does the saving.

Counted from the matrices and norms that a layer has; a test compares the counts with what autograd
saves. Knows nothing about batches, machines, or the fast layers of `models/fused`, which keep less.
Letters: E hidden size, F intermediate size, Q query and K key-value features.
"""

import re
from dataclasses import dataclass
from typing import Any

from stead.planning.facts import ModelFacts

_FIRST = re.compile(r"\.(?:layers|h|blocks|block|layer)\.0\.")
_SILU_GATED, _FUSED_GELU, _WRITTEN_OUT = 3.0, 1.0, 4.0  # arrays of size F that an activation keeps
_FUSED = ("c_attn", "qkv_proj", "Wqkv", "query_key_value")
_WRITTEN_OUT_NAMES = ("gelu_new", "gelu_fast", "quick_gelu")  # several operations each
_SQUARE_DROPOUT, _SQUARE_CAPPED = 12.0, 8.0  # bytes per score: softmax in fp32, and what follows


@dataclass(frozen=True, slots=True)
class Kept:
    """Per token and layer: `numbers` of the model's own type, `wide` ones in float32.

    `square`: bytes per head, token and key where scores themselves are kept: dropout of attention
    weights, soft caps.
    """

    numbers: float
    wide: float
    square: float


@dataclass(frozen=True, slots=True)
class _Layer:
    """The first layer's matrices as (name, outputs, inputs), and its norms' sizes and kind."""

    matrices: tuple[tuple[str, int, int], ...]
    norms: tuple[tuple[str, int], ...]
    rms: bool


def kept(model: ModelFacts, adapter: Any, targets: list[str], *, whole: bool) -> Kept:
    """Count what a layer keeps with this adapter (Any: its own config).

    `targets` are the matrices that a low-rank adapter is beside; `whole`: the layer's own are trained.
    An adapter's config may say by `kept(model)` what it keeps besides, per token and layer.
    """
    layer, config = _layer(model), getattr(model, "config", {})
    E, Q, K, F = widths(model)
    inputs = E + Q + E + F  # of the layer's four products; frozen ones do not keep them
    norms = sum({"q": Q, "k": K}.get(n[:1], E) if size != E else E for n, size in layer.norms)
    numbers = Q + 2 * K + _activation(layer, config) * F
    if whole:
        numbers += inputs + (norms if layer.rms else 0)
    elif targets:
        numbers += _beside(layer, adapter, targets, inputs)
    elif (own := getattr(adapter, "kept", None)) is not None:
        numbers += float(own(model))
    if any(name in _FUSED for name, _, _ in layer.matrices):
        numbers += Q + K  # values are a view of all three
    square = _square(config)
    if square:
        numbers += Q + 2 * K  # queries, keys and values once more, for autograd's own operations
    return Kept(numbers if layer.rms else numbers + norms, norms if layer.rms else 0, square)


def _beside(layer: _Layer, adapter: Any, targets: list[str], inputs: int) -> float:
    """Count inputs, dropped ones with their masks, narrow and wide results of low-rank products."""
    short = {t.removesuffix(".weight").rpartition(".")[2] for t in targets}
    sizes = [(out, into) for name, out, into in layer.matrices if name in short]
    every = sum(into for _, into in sizes)
    numbers = 2.0 * every if getattr(adapter, "dropout", 0.0) > 0 else float(min(inputs, every))
    if getattr(adapter, "dora", False):  # what is scaled, twice
        numbers += 2.0 * sum(out for out, _ in sizes)
    return numbers + len(sizes) * int(getattr(adapter, "r", getattr(adapter, "init_r", 0)))


def widths(model: ModelFacts) -> tuple[int, int, int, int]:
    """Return E, Q, K and F, from the matrices where they tell, else from the facts."""
    E = model.hidden_size
    found = {n: o for n, o, _ in _layer(model).matrices}
    size = getattr(model, "head_dim", 0)
    Q = found.get("q_proj", getattr(model, "heads", 0) * size)
    K = found.get("k_proj", getattr(model, "kv_heads", 0) * size)
    F = model.intermediate_size if model.intermediate_size else 4 * E
    return E, Q if Q else E, K if K else E, F


def _activation(layer: _Layer, config: Any) -> float:  # Any: JSON values
    if any("gate" in name for name, _, _ in layer.matrices):
        return _SILU_GATED
    name = config.get("hidden_act", config.get("activation_function", "gelu"))
    return _WRITTEN_OUT if name in _WRITTEN_OUT_NAMES else _FUSED_GELU


def _square(config: Any) -> float:  # Any: JSON values
    if any(config.get(n, 0) for n in ("attn_pdrop", "attention_dropout")):
        return _SQUARE_DROPOUT
    return _SQUARE_CAPPED if config.get("attn_logit_softcapping") else 0.0


def _layer(model: ModelFacts) -> _Layer:
    first = {n: s for n, (_, s) in model.tensors.items() if _FIRST.search(f".{n}")}
    matrices, norms, biases = [], [], False
    for name, shape in first.items():
        module, _, leaf = name.rpartition(".")
        short = module.rpartition(".")[2]
        if leaf == "weight" and len(shape) == 2:
            out, inner = shape[::-1] if getattr(model, "turned", False) else shape
            matrices.append((short, int(out), int(inner)))
        elif leaf == "weight" and len(shape) == 1:
            norms.append((short, int(shape[0])))
            biases = biases or f"{module}.bias" in first
    return _Layer(tuple(matrices), tuple(norms), not biases)
