"""What fits this machine, what would make a run fit, and what a person should know before it starts.

Knows nothing about how the plan was made. A refusal names the setting that helps, and can be
overridden by name.
"""

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stead.config.run import RunConfig
from stead.core.errors import ResourceError
from stead.core.hardware import Hardware
from stead.hub.linear import is_expert
from stead.planning.facts import DataFacts, ModelFacts
from stead.planning.forecast import Foresight
from stead.planning.plan import Interval, Plan
from stead.planning.shape import adapted
from stead.planning.work import work

_SHARE = 0.8  # of all memory; the rest is for the page cache and for being wrong
_FEW_ROWS = 10
_BUSY = 0.5  # of the cores; above it a run takes noticeably longer


@dataclass(frozen=True, slots=True)
class Room:
    """What there is of memory on the run's device: free now, and in all."""

    free_bytes: int
    all_bytes: int


def room(config: RunConfig, hardware: Hardware) -> Room:
    """Return the memory of the run's device."""
    cards = [g for g in hardware.gpus if g.kind == config.model.device]
    if cards:
        return Room(cards[0].free_bytes, cards[0].memory_bytes)
    return Room(hardware.ram_free_bytes, hardware.ram_bytes)


def with_tokens(config: RunConfig, tokens: int) -> RunConfig:
    """Return the configuration with another token budget."""
    changed = config.trainer.model_copy(update={"batch_tokens": tokens, "batch_rows": None})
    return config.model_copy(update={"trainer": changed})


def tokens_that_fit(
    config: RunConfig, model: ModelFacts, data: DataFacts, seer: Foresight, most: int
) -> int:
    """Return the largest token budget up to `most` whose forecast's high end fits; at least 0.

    Counted against all memory, not what is free at the moment: equal requests give equal plans.
    """
    limit = room(config, seer.hardware).all_bytes * _SHARE

    def fits(tokens: int) -> bool:
        return seer.memory(with_tokens(config, tokens), model, data).high <= limit

    if fits(most):
        return most
    low, high = 0, most // 64
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * 64) else (low, middle)
    return low * 64


def notes(config: RunConfig, model: ModelFacts, data: DataFacts) -> tuple[str, ...]:
    """Return warnings that are no refusals, one sentence each."""
    found = []
    if 0 < data.rows < _FEW_ROWS:
        what = "1 row" if data.rows == 1 else f"{data.rows} rows"
        found.append(f"only {what} to learn from; {_FEW_ROWS} or more are advised")
    dropped = sum(data.dropped.values())
    if dropped:
        why = ", ".join(f"{n} {reason}" for reason, n in data.dropped.items())
        found.append(f"{dropped} rows are left out: {why}")
    found += data.folders
    if data.truncated:
        limit = config.data.max_length
        found.append(f"{data.truncated} rows are cut at data.max_length={limit} tokens")
    if data.kind == "messages" and not model.has_template:
        found.append("the model has no chat template; the documented default is used")
    r, alpha = getattr(config.adapter, "r", None), getattr(config.adapter, "alpha", None)
    if r and alpha is not None and not 0.5 <= alpha / r <= 8:
        found.append(f"adapter.alpha/adapter.r is {alpha / r:g}; usual are 0.5 to 8")
    if adapted(model, config.adapter) and any(map(is_expert, model.tensors)):
        found.append(
            "the adapter goes beside attention and shared layers; experts stay as they are"
        )
    if config.trainer.lr == 0:
        found.append("trainer.lr is 0: the weights stay as they are, whatever the loss says")
    remarks = getattr(config.method, "remarks", None)
    found += () if remarks is None else remarks(config, model, data)
    found += _lengths(config, work(config, data, 1).steps)
    return tuple(found)


def _lengths(config: RunConfig, steps: int) -> Iterator[str]:
    """Yield what was asked for that a run of so many steps does not reach."""
    trainer = config.trainer
    if trainer.warmup >= max(2, steps):
        yield f"trainer.warmup={trainer.warmup:g} steps, but the run has {steps}: the learning rate never reaches its peak"
    if trainer.max_steps is not None and trainer.max_steps > steps:
        yield f"trainer.max_steps={trainer.max_steps}, but trainer.epochs={trainer.epochs:g} end after {steps} steps"


def verdicts(
    plan: Plan, model: ModelFacts, data: DataFacts, seer: Foresight
) -> tuple[dict[str, Any], ...]:  # Any: JSON values
    """Say for memory and disk whether the run fits this machine, and what would help.

    "fits": the high end of the forecast does; "may not fit": the expected value does; "does not
    fit": that neither. `allow` is the name that overrides a refusal; `hint` can be pasted.
    """
    config, needs = plan.config, plan.forecast
    have = room(config, seer.hardware).free_bytes
    count = config.launch.processes if config.model.device == "cpu" else 1  # a card each
    memory = Interval(*(count * v for v in needs.memory_bytes.to_list()))
    found = [_verdict("memory", memory, have, config.model.device)]
    found.append(_verdict("disk", needs.disk_bytes, seer.hardware.disk_free_bytes, "disk"))
    for item in found:
        if item["verdict"] != "fits":
            is_disk = item["allow"] == "disk"
            helps = {"trainer.keep": 1} if is_disk else _smaller(config, model, data, seer)
            item["hint"] = _command(config, helps)
    return tuple(found)


def _verdict(name: str, needs: Interval, have: int, where: str) -> dict[str, Any]:  # Any: JSON
    word = "does not fit"
    if needs.expected <= have:
        word = "fits" if needs.high <= have else "may not fit"
    return {
        "allow": name, "verdict": word, "where": where, "have_bytes": have,
        "sure": needs.low > have, "expected_bytes": needs.expected,
    }  # fmt: skip


def refuse_impossible(plan: Plan, allow: Collection[str]) -> None:
    """Raise when even the low end of the forecast does not fit, unless allowed by name.

    Raises: ResourceError("not-enough-memory" | "not-enough-disk").
    """
    for item in plan.verdicts:
        if item["sure"] and item["allow"] not in allow:
            raise _refusal(item)


def _refusal(item: dict[str, Any]) -> ResourceError:  # Any: JSON values
    """Return the error for a verdict that is sure."""
    needs, have, name = _size(item["expected_bytes"]), _size(item["have_bytes"]), item["allow"]
    where = f" on {item['where']}" if name == "memory" else ""
    message = (
        f"the run needs about {needs} of {name}, and {have} are free{where}; "
        f"--allow {name} tries anyway"
    )
    if name == "memory":
        return ResourceError("not-enough-memory", message, hint=item["hint"])
    return ResourceError("not-enough-disk", message, hint=item["hint"])


def busy(load: float, cores: int) -> Iterator[str]:
    """Yield a note when other programs keep the processor busy."""
    if load > _BUSY * cores:
        yield f"the machine is busy now (load {load:.1f} on {cores} cores): expect more time than forecast"


def _smaller(
    config: RunConfig, model: ModelFacts, data: DataFacts, seer: Foresight
) -> dict[str, object]:
    """Return the gentlest change that fits: shorter batches, recomputation, both, then LoRA."""
    length = config.data.max_length if isinstance(config.data.max_length, int) else 8
    budget = config.trainer.batch_tokens
    most = budget if isinstance(budget, int) else seer.largest(config, model, data)
    again = config.trainer.model_copy(update={"gradient_checkpointing": True})
    change: dict[str, object] = {}
    for tried in (config, config.model_copy(update={"trainer": again})):
        fits = tokens_that_fit(tried, model, data, seer, most)
        if fits >= most and change:
            return change
        if fits >= length and fits < most:
            return change | {"trainer.batch_tokens": max(length, fits)}
        change = {"trainer.gradient_checkpointing": "true"}
    if config.adapter.type == "full":
        return {"adapter": "lora"} | change
    return change | {"model.dtype": "bf16", "data.max_length": max(8, length // 2)}


def _command(config: RunConfig, change: Mapping[str, object]) -> str:
    paths = ["--model", config.model.path]
    if isinstance(config.data.path, str):
        paths += ["--data", config.data.path]
    settings = [part for key, value in change.items() for part in ("-s", f"{key}={value}")]
    return shlex.join(["stead", "plan", *paths, *settings])


def _size(count: float) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
