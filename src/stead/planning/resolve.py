"""RunConfig + model + data + hardware → Plan: every "auto" settled, with the reason as origin.

Knows nothing about how models are inspected or rows counted: those come in as functions. Nothing is
loaded, trained or written.
"""

import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stead.config import pairing
from stead.config.document import Document
from stead.config.recipe import Recipe, read_recipe
from stead.config.run import RunConfig
from stead.config.validate import keys, validate
from stead.core import lazy
from stead.core.errors import ConfigError, ModelError
from stead.core.hardware import Hardware
from stead.core.paths import Home
from stead.planning import memory, recommend
from stead.planning.facts import DataFacts, ModelFacts, model_dict
from stead.planning.forecast import Foresight
from stead.planning.machine import table
from stead.planning.plan import Plan
from stead.planning.work import work

Inspect = Callable[[str], ModelFacts]
Survey = Callable[[RunConfig, ModelFacts, int], DataFacts]
_STEPS_PER_EPOCH = 20  # a token budget that leaves fewer would learn little from a small data set
_CHECKPOINTS = 10  # per run


@dataclass(slots=True)
class _Draft:
    """A configuration on its way: what is decided so far, and why."""

    recipe: Recipe
    model: ModelFacts
    seer: Foresight
    config: RunConfig
    reasons: dict[str, str] = field(default_factory=dict)

    def settle(self, key: str, value: Any, reason: str) -> None:  # Any: a JSON value
        """Set an undecided key; what somebody decided is left alone."""
        section, _, name = key.partition(".")
        if getattr(getattr(self.config, section), name) != "auto":
            return
        inner = getattr(self.config, section).model_copy(update={name: value})
        self.config = self.config.model_copy(update={section: inner})
        self.reasons[key] = reason


def plan(  # noqa: PLR0913 - all that a plan depends on, by name
    source: Recipe | RunConfig | Mapping[str, Any] | Path | None,
    *,
    inspect: Inspect,
    survey: Survey,
    hardware: Hardware,
    overrides: Mapping[str, Any] | None = None,
    origin: str = "call",
    home: Home | None = None,
    allow: Collection[str] = (),
    trackers: tuple[tuple[str, ...], str] = ((), "default"),
) -> Plan:
    """Settle everything about a run.

    A `source` that is a Recipe has been read: `overrides` and `origin` are in it.
    `survey(config, model, longest)` counts the rows, cut at `longest` tokens. `home` holds the
    records of finished runs that correct the forecast; None: no correction. `allow` names refusals
    that are overridden: "memory", "disk", "length". `trackers` is what "auto" means here, and why.
    Raises: ConfigError, NotFound, DataError, ModelError; ResourceError("not-enough-memory" |
    "not-enough-disk") with the setting that helps.
    """
    recipe = source if isinstance(source, Recipe) else read_recipe(source, overrides, origin)
    _require(recipe)
    _ask_method(recipe, inspect)
    model = inspect(recipe.config.model.path)
    _refuse_finished_forms(model)
    _ask_adapter(recipe, model)
    draft = _Draft(recipe, model, Foresight(hardware, home), recipe.config)
    others, parameters = _others(draft, inspect)
    draft.seer = seer = Foresight(hardware, home, parameters)
    _place(draft)
    longest = _longest(draft, allow)
    data = survey(draft.config, model, longest)
    _ask_rows(draft.config, data)
    _fit_data(draft, data, longest)
    draft.settle("trainer.trackers", *trackers)
    config = validate(RunConfig, Document(draft.config.model_dump(mode="json")))
    made = Plan(
        config=config,
        origins=_origins(draft),
        model=model_dict(model) | ({"others": others} if others else {}),
        data=data.to_dict(),
        hardware=hardware.to_dict(),
        forecast=seer.forecast(config, model, data),
        notes=recommend.notes(config, model, data),
    )
    made = replace(made, verdicts=recommend.verdicts(made, model, data, seer))
    recommend.refuse_impossible(made, allow)
    return made


def _require(recipe: Recipe) -> None:
    for key, option in (("model.path", "--model DIR"), ("data.path", "--data FILE")):
        section, _, name = key.partition(".")
        if not getattr(getattr(recipe.config, section), name):
            raise ConfigError("missing-key", f"{key} is missing; give it in the recipe or {option}")


def _ask_method(recipe: Recipe, inspect: Inspect) -> None:
    """Let the method's config refuse what no run could begin with (`MethodConfig.require`)."""
    own = getattr(recipe.config.method, "require", None)
    if own is not None:
        own(lambda ref: inspect(ref).path)


def _ask_rows(config: RunConfig, data: DataFacts) -> None:
    """Let the method's config refuse rows it cannot be used with (`MethodConfig.require_rows`)."""
    own = getattr(config.method, "require_rows", None)
    if own is not None and data.extras is not None:
        path = config.data.path
        first = path if isinstance(path, str) else path[0]
        own(data, first if isinstance(first, str) else first.path)


def _refuse_finished_forms(model: ModelFacts) -> None:
    """Refuse what is no folder of whole weights: an adapter, a file for serving."""
    if model.kind == "adapter":
        merged = f"{model.path.name}-merged" if model.path.name != "final" else "merged"
        raise ModelError(
            "not-a-base", f"{str(model.path)!r} is an adapter; training begins with a whole model",
            hint=f"stead merge {shlex.quote(str(model.path))} --out {merged}",
        )  # fmt: skip
    if model.kind != "model":
        raise ModelError(
            "not-a-base",
            f"{str(model.path)!r} is a {model.kind.upper()} file; training begins with a model folder",
        )


def _ask_adapter(recipe: Recipe, model: ModelFacts) -> None:
    """Let the adapter's config refuse a model that cannot take it (`AdapterConfig.require`)."""
    own = getattr(recipe.config.adapter, "require", None)
    if own is not None:
        own(model)


def _others(draft: _Draft, inspect: Inspect) -> tuple[dict[str, str], int]:
    """Find the other models that the method names; return their hashes by key, and their size.

    Which fields name models, the method's config says (`MethodConfig.models`).
    """
    found: dict[str, str] = {}
    parameters = 0
    method = draft.config.method
    for name in getattr(type(method), "models", ()):
        ref = getattr(method, name)
        if ref is None:
            continue
        facts = inspect(ref)
        base = getattr(facts, "base", None)  # of an adapter: it is loaded too
        parameters += facts.parameters + (0 if base is None else inspect(str(base)).parameters)
        found[f"method.{name}"] = facts.hash
        changed = draft.config.method.model_copy(update={name: str(facts.path)})
        draft.config = draft.config.model_copy(update={"method": changed})
        draft.reasons[f"method.{name}"] = f"the model {ref!r}, found"
    return found, parameters


def _place(draft: _Draft) -> None:
    """Settle device, dtype and attention from the hardware."""
    hardware = draft.seer.hardware
    found = hardware.gpus[0].name if hardware.gpus else "no GPU found"
    if hardware.unused:
        found += f" is here, but torch {hardware.torch} is a build for processors"
    draft.settle("model.device", hardware.device, f"hardware ({found})")
    device = draft.config.model.device
    draft.settle("model.dtype", *_number_type(device, hardware))
    half = draft.config.model.dtype != "fp32"
    flash = device == "cuda" and half and lazy.installed("flash_attn")
    kernel = "flash_attention_2" if flash and _modern(hardware) else "sdpa"
    draft.settle("model.attention", kernel, f"hardware ({device})")


def _number_type(device: str, hardware: Hardware) -> tuple[str, str]:
    """Return the number type that this device computes fast in, and why."""
    if device == "cpu" and hardware.fast_bf16:
        return "bf16", "hardware (the processor multiplies bf16 in hardware)"
    if device == "cuda":
        return ("bf16", "hardware (the card computes in bf16)") if _modern(hardware) else ("fp16", "hardware (no bf16)")  # fmt: skip
    return "fp32", f"hardware (no fast bf16 on {device})"


def _modern(hardware: Hardware) -> bool:
    """Say whether every card computes in bf16: which of them a run gets is not known here."""
    cards = [g for g in hardware.gpus if g.kind == "cuda"]
    return bool(cards) and all(g.fast_bf16 for g in cards)


def _longest(draft: _Draft, allow: Collection[str]) -> int:
    """Return the length at which rows are surveyed: as asked, else what device and model allow."""
    asked, context = draft.config.data.max_length, draft.model.context_length
    if asked == "auto":
        profile = int(table()["profiles"][draft.config.model.device]["max_length"])
        tokens = draft.config.trainer.batch_tokens
        caps = [profile, *([context] if context else []), *([tokens] if tokens != "auto" else [])]
        return min(c for c in caps if isinstance(c, int))
    if context and asked > context and "length" not in allow:
        raise ConfigError(
            "too-long",
            f"data.max_length={asked} is longer than the model's context of {context} tokens",
            key="data.max_length",
        )
    return asked


def _fit_data(draft: _Draft, data: DataFacts, longest: int) -> None:
    """Settle what depends on the rows: lengths, batches, learning rate, checkpoints."""
    for key, names in (("data.reader", data.readers), ("data.format", data.formats)):
        if len(set(names)) == 1:
            draft.settle(key, names[0], f"detected ({data.explanation})")
    top = data.lengths.get("max", longest)
    length = max(8, min(longest, -(-top // 8) * 8))  # a multiple of 8 keeps matrix tiles whole
    cut = data.truncated or top > longest
    why = f"rows are cut at {longest} tokens" if cut else f"longest row has {top} tokens"
    draft.settle("data.max_length", length, f"data ({why})")
    if draft.config.trainer.batch_rows is not None:
        draft.settle("trainer.batch_tokens", None, "trainer.batch_rows is given")
    chunk = memory.logits_chunk(draft.model)
    draft.settle("trainer.logits_chunk", chunk, f"memory (vocabulary of {draft.model.vocab_size})")
    draft.settle("trainer.batch_tokens", *_budget(draft, data))
    draft.settle("trainer.lr", *_rate(draft.config))
    steps = work(draft.config, data, 1).steps
    every = max(1, -(-steps // _CHECKPOINTS))
    draft.settle("trainer.checkpoint_every", every, f"about {_CHECKPOINTS} in {steps} steps")


def _budget(draft: _Draft, data: DataFacts) -> tuple[int, str]:
    """Return the token budget of a micro-batch: the device's profile, less for few rows or memory."""
    config = draft.config
    least = config.data.max_length if isinstance(config.data.max_length, int) else 8
    budget = int(table()["profiles"][config.model.device]["batch_tokens"])
    reason = f"profile for {config.model.device}"
    small = data.tokens // (_STEPS_PER_EPOCH * config.trainer.accumulation)
    if small < budget:
        budget = max(512, small // 64 * 64)
        reason = f"data (about {_STEPS_PER_EPOCH} steps per epoch from {data.tokens} tokens)"
    fits = recommend.tokens_that_fit(config, draft.model, data, draft.seer, budget)
    if fits < budget:
        budget, reason = max(64, fits), "memory (the forecast of the largest batch that fits)"
    if budget < least:
        budget, reason = least, f"data (one row of {least} tokens)"
    return budget, reason


def _rate(config: RunConfig) -> tuple[float, str]:
    """Return the learning rate that method, adapter and optimizer advise together."""
    method, adapter, optimizer = config.method.type, config.adapter.type, config.trainer.optimizer
    rate = pairing.default_lr(method, adapter, optimizer)
    reason = f"default for method {method} with adapter {adapter}"
    same = rate == pairing.default_lr(method, adapter)
    return rate, reason if same else f"{reason} and optimizer {optimizer}"


def _origins(draft: _Draft) -> dict[str, str]:
    """Return the origin of every key: written by somebody, settled here, or a default."""
    data = draft.config.model_dump(mode="json")
    found = {}
    for key in keys(RunConfig, data):
        section = key.partition(".")[0]
        owner = getattr(getattr(draft.config, section), "type", "")
        default = f"default of {section} {owner}" if section in ("method", "adapter") else "default"
        written = draft.recipe.origin(key)
        found[key] = draft.reasons.get(key, written if written is not None else default)
    sections = {key.rpartition(".")[0] for key in found}
    return {key: origin for key, origin in found.items() if key not in sections}
