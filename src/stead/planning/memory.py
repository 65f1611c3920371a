"""Bytes a training run holds at its peak, by part.

Knows nothing about data or time. Units: bytes. The parts are counted for one micro-batch of T
flattened tokens without padding, because that is how batches are made.
"""

from typing import Any

from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.planning.facts import ModelFacts

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "fp64": 8}
_MASTER = 4  # trained weights, their gradients and moments are kept in fp32
_RUNTIME = {"cpu": 600 << 20, "cuda": 900 << 20, "mps": 600 << 20}  # interpreter, torch, kernels
# Values kept for the backward pass per token and layer of a Llama block, in units of its widths:
# norm inputs and outputs, q, k, v, attention, residuals; gate, up, activation, product.
_KEPT_HIDDEN = 24.0
_KEPT_INNER = 9.0
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "c_attn", "c_proj", "query", "key", "value")
_LOST = 0.25  # held by the allocator; measured on 41M parameters: peak 1.7 GiB LoRA, 3.5 GiB full
_LOGIT_COPIES = 3  # logits, their float32 form, their gradient


def trainable(model: ModelFacts, adapter: Any) -> int:  # Any: an adapter's own config class
    """Count the parameters that an adapter trains.

    An adapter with a rank trains rank × (in + out) of each matrix it is put beside; without a rank
    all weights are trained.
    """
    own = getattr(adapter, "trained_parameters", None)
    if own is not None:  # an adapter whose size no rank tells
        return int(own(model))
    rank = getattr(adapter, "r", None)
    if rank is None:
        return model.parameters
    wanted = getattr(adapter, "target_modules", "all-linear")
    matrices = [
        shape
        for name, (_, shape) in model.tensors.items()
        if len(shape) == 2 and _is_target(name, wanted)
    ]
    return sum(int(rank) * sum(shape) for shape in matrices)


def _is_target(name: str, wanted: Any) -> bool:  # Any: text or names
    module = name.removesuffix(".weight").rpartition(".")[2]
    if wanted == "auto":
        return module in _ATTENTION
    if wanted == "all-linear":
        return any(part in name for part in (".layers.", ".h.", "blk."))
    return module in ((wanted,) if isinstance(wanted, str) else wanted)


def parts(config: RunConfig, model: ModelFacts, batch_tokens: int, chunk: int) -> dict[str, int]:
    """Return the peak's parts for micro-batches of `batch_tokens` tokens.

    `chunk` is the number of labelled tokens whose logits exist at once.
    """
    dtype, device = config.model.dtype, config.model.device
    width = BYTES[dtype]
    trained = trainable(model, config.adapter)
    whole = trained == model.parameters
    state = int(trained * _state_bytes(config))
    found = {
        "weights": model.parameters * width,
        "adapter": trained * (_MASTER if not whole or width < _MASTER else 0),
        "gradients": trained * _MASTER,
        "optimizer": state,
        "activations": int(
            batch_tokens * _per_token(model, width, again=config.trainer.gradient_checkpointing)
        ),
        "logits": chunk * model.vocab_size * _LOGIT_COPIES * _MASTER,
        "checkpoint": trained * _MASTER + state,  # copied while it is written
        "runtime": _RUNTIME[device],
    }
    return found | {"allocator": int(sum(found.values()) * _LOST)}


def _state_bytes(config: RunConfig) -> float:
    """Return the bytes that the optimizer keeps per trained weight."""
    own = float(registry("optimizer").get(config.trainer.optimizer).state_bytes)
    return own + (_MASTER if config.trainer.ema is not None else 0)


def _per_token(model: ModelFacts, width: int, *, again: bool) -> float:
    """Return the bytes of activations per token; with recomputation one layer's plus the borders."""
    layer = (_KEPT_HIDDEN * model.hidden_size + _KEPT_INNER * model.intermediate_size) * width
    if again:
        return layer + model.layers * model.hidden_size * width
    return layer * model.layers


def logits_chunk(model: ModelFacts, budget_bytes: int = 128 << 20) -> int:
    """Return how many tokens' logits fit `budget_bytes`: a power of two from 64 to 4096."""
    fits = budget_bytes // max(1, model.vocab_size * _LOGIT_COPIES * _MASTER)
    return 1 << min(12, max(6, int(fits).bit_length() - 1))


def disk(config: RunConfig, model: ModelFacts) -> int:
    """Return the bytes a run leaves behind at most: checkpoints, the one being written, the result."""
    trained = trainable(model, config.adapter)
    checkpoint = int(trained * (_MASTER + _state_bytes(config)))
    final = trained * (BYTES[config.model.dtype] if trained == model.parameters else _MASTER)
    return checkpoint * (config.trainer.keep + 1) + final + (4 << 20)
