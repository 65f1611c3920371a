"""Seconds a training run takes: its multiplications over what the machine sustains.

Knows nothing about memory. Units: FLOPs (a multiply-add is two), GFLOP/s, seconds.
"""

import math
from functools import cache
from typing import Any

from stead.config import load
from stead.config.run import RunConfig
from stead.core import files
from stead.planning.facts import DataFacts, ModelFacts
from stead.planning.memory import trainable

_START_S = {"cpu": 4.0, "cuda": 12.0, "mps": 6.0}  # imports, loading, first batch


@cache
def table() -> dict[str, Any]:  # Any: the values of defaults.yaml
    """Return planning/defaults.yaml."""
    return load.parse_yaml(
        files.package_text("stead.planning", "defaults.yaml"), "planning/defaults.yaml"
    ).data


def steps(config: RunConfig, data: DataFacts) -> int:
    """Return the optimizer steps of the run, as far as counts can tell."""
    trainer = config.trainer
    if trainer.batch_rows is not None:
        micro = math.ceil(data.rows / trainer.batch_rows)
    elif isinstance(trainer.batch_tokens, int):
        micro = math.ceil(data.tokens / trainer.batch_tokens)
    else:
        micro = data.rows
    planned = max(1, math.ceil(math.ceil(micro / trainer.accumulation) * trainer.epochs))
    return planned if trainer.max_steps is None else min(planned, trainer.max_steps)


def flops(config: RunConfig, model: ModelFacts, data: DataFacts, share: float = 1.0) -> float:
    """Return the FLOPs of the run; `share` is the part of all planned tokens that is processed.

    Per token: 2 per weight forward, 2 backward for activations, 2 more for the gradients of trained
    weights, 2 again when recomputed; attention costs 4 × hidden per earlier token and layer.
    Source: arXiv:2001.08361, section 2.1.
    """
    embedding = model.vocab_size * model.hidden_size
    body = max(0, model.parameters - embedding * (1 if model.tied else 2))
    passes = 4 + 2 * trainable(model, config.adapter) / max(1, model.parameters)
    passes += 2 if config.trainer.gradient_checkpointing else 0
    earlier = data.tokens / max(1, data.rows) / 2
    attention = 2 * earlier * model.hidden_size * model.layers * passes
    tokens = data.tokens * config.trainer.epochs * share
    labels = data.label_tokens * config.trainer.epochs * share
    return tokens * (body * passes + attention) + labels * embedding * passes


def gflops(config: RunConfig, hardware: dict[str, Any]) -> tuple[float, str]:
    """Return the sustained GFLOP/s that the table gives for this device, and the basis in words."""
    found = table()
    device, dtype = config.model.device, config.model.dtype
    if device == "mps":
        return float(found["gflops_apple"]), "table: Apple GPU, unverified"
    if device == "cuda":
        name = hardware["gpus"][0]["name"] if hardware["gpus"] else "other"
        row = next((k for k in found["gflops_per_card"] if k in name), "other")
        return float(found["gflops_per_card"][row]), f"table: {row} card, unverified"
    rates = found["gflops_per_core"]["fp32" if dtype == "fp32" else "bf16"]
    flag = next((f for f in rates if f in hardware["flags"]), "other")
    cores = hardware["cores"]
    return float(rates[flag]) * cores, f"table: {dtype} with {flag} on {cores} cores"


def seconds(
    config: RunConfig, model: ModelFacts, data: DataFacts, hardware: dict[str, Any]
) -> tuple[float, str]:
    """Return the expected seconds of the run before calibration, and the basis in words."""
    rate, basis = gflops(config, hardware)
    whole = config.model_copy(
        update={"trainer": config.trainer.model_copy(update={"max_steps": None})}
    )
    share = steps(config, data) / steps(whole, data)
    work = flops(config, model, data, share)
    return _START_S[config.model.device] + work / (rate * 1e9), basis
