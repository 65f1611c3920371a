"""A model as sizes: what one token keeps and multiplies in each layer, and what an adapter trains.

Knows nothing about batches or machines. Letters: E hidden size, F intermediate size, Q query and K
key-value features, V vocabulary, R rank, P padded ranks. Source of what is kept: the tensors that
`models/fused` saves for the backward pass; for other layers `planning/kept`.
"""

from dataclasses import dataclass
from typing import Any

from stead.hub.linear import is_linear
from stead.planning.facts import ModelFacts
from stead.planning.kept import Kept, kept, widths
from stead.planning.machine import table

BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp64": 8.0}
_ALIGN = 32  # columns of the low-rank part; models/layers/packed
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "c_attn", "c_proj", "query", "key", "value")
_GROUPS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model and its adapter. `kept`: what is kept per token and layer for the backward pass.

    `passed`: numbers per token and layer that go through memory. `dropped`: numbers per token and layer of dropout masks. `trained`: parameters
    that change; `whole`: all do. `packed`: parameters that the fast layers hold in one matrix. `cached`: numbers per token that
    writing keeps, keys and values. `deep`: layers through which gradients flow; those below keep nothing.
    """

    hidden: int
    inner: int
    layers: int
    vocab: int
    heads: int
    body: int
    embedding: int
    trained: int
    whole: bool
    fused: bool
    kept: Kept
    passed: float
    dropped: float
    low: int
    packed: int
    cached: float
    deep: int

    @property
    def tables(self) -> float:
        """Return the share of the trained weights that embeddings and output layer are."""
        return max(0, self.trained - self.body) / self.trained if self.whole else 0.0


def shape(model: ModelFacts, adapter: Any, device: str) -> Shape:  # Any: an adapter's own config
    """Read the sizes off the facts."""
    trained = trainable(model, adapter)
    plain = not getattr(adapter, "dora", False) and getattr(adapter, "type", "") in table()["fused_adapters"]  # fmt: skip
    fused = device == "cpu" and plain and model.family in table()["fused_families"]
    embedding = model.vocab_size * model.hidden_size
    body = max(0, model.parameters - embedding * (1 if model.tied else 2))
    targets = adapted(model, adapter)
    pads = _pads(targets, adapter)
    share = len(targets) / max(1, 7 * model.layers)
    drops = float(getattr(adapter, "dropout", 0.0)) > 0 and bool(targets)
    E, q, k, F = widths(model)
    dropped = (3 * E + F) * min(1.0, share) if drops else 0.0
    whole = trained == model.parameters
    own = 4 * E + 2 * q + 2 * k + 4 * F + sum(pads) + dropped
    passed = own if fused else 16 * E + 2 * q + 4 * k + 5 * F + dropped
    held = (
        Kept(own, 0.0, 0.0)
        if fused
        else kept(model, adapter, targets, whole=whole or getattr(adapter, "trains_layers", False))
    )
    linear = sum(_size(s) for n, (_, s) in model.tensors.items() if ".layers." in n and len(s) == 2)
    ends = (E + q + 2 * k, q + E, E + 2 * F, F + E)  # inputs and outputs of a layer's four products
    low = sum(p * n for p, n in zip(pads, ends, strict=True)) * model.layers if fused else 0
    return Shape(
        E, F, model.layers, model.vocab_size, getattr(model, "heads", max(1, E // 64)), body,
        embedding, trained, whole, fused, held, passed, dropped, low,
        linear if fused else 0, 2 * k * model.layers, _depth(model, adapter),
    )  # fmt: skip


def _depth(model: ModelFacts, adapter: Any) -> int:  # Any: an adapter's own config class
    """Return through how many layers gradients flow: an adapter's config may say it by `depth(model)`."""
    own = getattr(adapter, "depth", None)
    return model.layers if own is None else int(own(model))


def trainable(model: ModelFacts, adapter: Any) -> int:  # Any: an adapter's own config class
    """Count the parameters that an adapter trains.

    Its config may say it by `trained_parameters(model)`. Else one with a rank trains rank × (in + out)
    of each matrix it is put beside; without a rank all weights are trained.
    """
    own = getattr(adapter, "trained_parameters", None)
    if own is not None:
        return int(own(model))
    rank = getattr(adapter, "r", None)
    if rank is None:
        return model.parameters
    return sum(int(rank) * sum(model.tensors[n][1]) for n in adapted(model, adapter))


def adapted(model: ModelFacts, adapter: Any) -> list[str]:  # Any: an adapter's own config class
    """Return the names of the matrices that a low-rank adapter is put beside."""
    if getattr(adapter, "r", getattr(adapter, "init_r", None)) is None:
        return []
    wanted = getattr(adapter, "target_modules", "all-linear")
    return [n for n, (_, s) in model.tensors.items() if is_linear(n, s) and _is_target(n, wanted)]


def _is_target(name: str, wanted: Any) -> bool:  # Any: text or names
    module = name.removesuffix(".weight").rpartition(".")[2]
    if wanted == "auto":
        return module in _ATTENTION
    if wanted == "all-linear":
        return any(part in name for part in (".layers.", ".h.", "blk."))
    return module in ((wanted,) if isinstance(wanted, str) else wanted)


def _pads(targets: list[str], adapter: Any) -> list[int]:  # Any: an adapter's own config class
    """Return the padded columns that ranks add to each of a layer's four products."""
    short = {n.removesuffix(".weight").rpartition(".")[2] for n in targets}
    rank = int(getattr(adapter, "r", 0)) if targets else 0
    ranks = [rank * sum(name in short for name in group) for group in _GROUPS]
    return [-(-r // _ALIGN) * _ALIGN for r in ranks]


def _size(shape: tuple[int, ...]) -> int:
    return shape[0] * shape[1]
