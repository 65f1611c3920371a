"""All that adapters may put into a model, by one name each: the real `models/adapter.Layers`.

Knows nothing about which adapter asks. This module is handed to adapters, which are light and may not
import torch.
"""

from torch import nn

from stead.models.folder import write_changed
from stead.models.layers import lowrank
from stead.models.layers.dora import DoraLinear
from stead.models.layers.grid import add_grid, grid_weights
from stead.models.layers.lowrank import (
    LowRankLinear,
    detect_targets,
    read_tensors,
    write_model,
    write_tensors,
)
from stead.models.layers.observed import observe, take_squares
from stead.models.layers.prompts import add_prompt, prompt_dims, prompt_vectors, set_prompt
from stead.models.layers.quantized import QuantizedDora, QuantizedLowRank, QuantizedWeight, quantize
from stead.models.layers.ranked import RankedLinear
from stead.models.layers.scaled import add_scales

__all__ = [
    "add_grid", "add_low_rank", "add_prompt", "add_scales", "detect_targets", "grid_weights",
    "observe", "prompt_dims", "prompt_vectors", "quantize", "read_tensors", "set_prompt",
    "take_squares", "write_changed", "write_model", "write_tensors",
]  # fmt: skip

_KINDS: dict[str, type[LowRankLinear]] = {
    "lora": LowRankLinear, "dora": DoraLinear, "adalora": RankedLinear,
}  # fmt: skip
_QUANTIZED: dict[str, type[LowRankLinear]] = {"lora": QuantizedLowRank, "dora": QuantizedDora}


def add_low_rank(
    model: nn.Module, names: list[str], *, rank: int, scaling: float, dropout: float, seed: int,
    init: str = "true", kind: str = "lora",
) -> None:  # fmt: skip
    """Put a trainable product beside each named layer, whether its weight is whole or codes.

    `kind` is lora, dora or adalora; `init` true, gaussian, pissa, or loftq where the weight is codes.
    Raises: ModelError("already-adapted" | "bad-init").
    """

    def choose(layer: nn.Linear) -> type[LowRankLinear]:
        return (_QUANTIZED if isinstance(layer, QuantizedWeight) else _KINDS)[kind]

    lowrank.add_low_rank(
        model, names, rank=rank, scaling=scaling, dropout=dropout, seed=seed, init=init, kind=choose
    )
