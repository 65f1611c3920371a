"""What would make a run fit, and what a person should know before starting it.

Knows nothing about how the plan was made. A refusal names the setting that helps, and can be
overridden by name.
"""

import shlex
from collections.abc import Collection

from stead.config.run import RunConfig
from stead.core.errors import ResourceError
from stead.core.hardware import Hardware
from stead.planning import memory
from stead.planning.facts import DataFacts, ModelFacts
from stead.planning.plan import Plan

_SHARE = 0.8  # of all memory; the rest is for the page cache and for being wrong
_FEW_ROWS = 10


def available(config: RunConfig, hardware: Hardware) -> int:
    """Return the bytes that the run's device has free."""
    cards = [g for g in hardware.gpus if g.kind == config.model.device]
    return cards[0].free_bytes if cards else hardware.ram_free_bytes


def tokens_that_fit(config: RunConfig, model: ModelFacts, hardware: Hardware) -> int:
    """Return the largest micro-batch whose activations fit beside everything else; at least 0.

    Counted against all memory, not what is free at the moment: equal requests give equal plans.
    """
    chunk = config.trainer.logits_chunk
    chunk = chunk if isinstance(chunk, int) else 0
    fixed = sum(memory.parts(config, model, 0, chunk).values())
    each = sum(memory.parts(config, model, 1000, chunk).values()) / 1000 - fixed / 1000
    cards = [g for g in hardware.gpus if g.kind == config.model.device]
    whole = cards[0].memory_bytes if cards else hardware.ram_bytes
    return max(0, int((whole * _SHARE - fixed) / max(each, 1.0)))


def notes(config: RunConfig, model: ModelFacts, data: DataFacts) -> tuple[str, ...]:
    """Return warnings that are no refusals, one sentence each."""
    found = []
    if data.rows < _FEW_ROWS:
        found.append(f"only {data.rows} rows to learn from; {_FEW_ROWS} or more are advised")
    dropped = sum(data.dropped.values())
    if dropped:
        why = ", ".join(f"{n} {reason}" for reason, n in data.dropped.items())
        found.append(f"{dropped} rows are left out: {why}")
    if data.truncated:
        limit = config.data.max_length
        found.append(f"{data.truncated} rows are cut at data.max_length={limit} tokens")
    if data.kind == "messages" and not model.has_template:
        found.append("the model has no chat template; the documented default is used")
    r, alpha = getattr(config.adapter, "r", None), getattr(config.adapter, "alpha", None)
    if r and alpha is not None and not 0.5 <= alpha / r <= 8:
        found.append(f"adapter.alpha/adapter.r is {alpha / r:g}; usual are 0.5 to 8")
    return tuple(found)


def refuse_impossible(
    plan: Plan, model: ModelFacts, hardware: Hardware, allow: Collection[str]
) -> None:
    """Raise when even the low end of the forecast does not fit, unless allowed by name.

    Raises: ResourceError("not-enough-memory" | "not-enough-disk" | "no-rows").
    """
    forecast, config = plan.forecast, plan.config
    have = available(config, hardware)
    if forecast.memory_bytes.low > have and "memory" not in allow:
        raise ResourceError(
            "not-enough-memory",
            f"the run needs about {_size(forecast.memory_bytes.expected)} of memory, and "
            f"{_size(have)} are free on {config.model.device}; --allow memory tries anyway",
            hint=_command(config, _smaller(config, model, hardware)),
        )
    if forecast.disk_bytes.low > hardware.disk_free_bytes and "disk" not in allow:
        raise ResourceError(
            "not-enough-disk",
            f"the run needs about {_size(forecast.disk_bytes.expected)} of disk, and "
            f"{_size(hardware.disk_free_bytes)} are free; --allow disk tries anyway",
            hint=_command(config, {"trainer.keep": 1}),
        )


def _smaller(config: RunConfig, model: ModelFacts, hardware: Hardware) -> dict[str, object]:
    """Return the gentlest change that fits: recomputation, then also shorter batches, then LoRA."""
    again = config.trainer.model_copy(update={"gradient_checkpointing": True})
    tried = config.model_copy(update={"trainer": again})
    length = config.data.max_length if isinstance(config.data.max_length, int) else 8
    budget = config.trainer.batch_tokens
    fits = tokens_that_fit(tried, model, hardware)
    change: dict[str, object] = {"trainer.gradient_checkpointing": "true"}
    if isinstance(budget, int) and fits >= budget:
        return change
    if fits >= length:
        return change | {"trainer.batch_tokens": max(length, fits // 64 * 64)}
    if config.adapter.type == "full":
        return {"adapter": "lora"} | change
    return change | {"model.dtype": "bf16", "data.max_length": max(8, min(length // 2, fits))}


def _command(config: RunConfig, change: dict[str, object]) -> str:
    paths = ["--model", config.model.path]
    if isinstance(config.data.path, str):
        paths += ["--data", config.data.path]
    settings = [part for key, value in change.items() for part in ("-s", f"{key}={value}")]
    return shlex.join(["stead", "plan", *paths, *settings])


def _size(count: float) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
