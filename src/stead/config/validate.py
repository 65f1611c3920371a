"""A mapping with places to a checked value, or one error that names every problem and its place.

Knows nothing about files; the class to check by is passed in. Says which key was probably meant.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from stead.config.document import Document
from stead.config.kinds import registry
from stead.config.sections import Owned
from stead.core.errors import ConfigError
from stead.core.suggest import nearest

M = TypeVar("M", bound=BaseModel)
Location = tuple[int | str, ...]
_MISSING = object()
_CODES = {
    "extra_forbidden": "unknown-key",
    "missing": "missing-key",
    "unknown_name": "unknown-name",
    "both_quantizations": "both-quantizations",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what, and what was probably meant."""

    code: str
    key: str
    place: str | None
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        ask = f"; did you mean {self.suggestion!r}?" if self.suggestion else ""
        return (f"{self.place}: " if self.place else "") + self.message + ask


def validate(model: type[M], document: Document) -> M:
    """Check `document` by `model`.

    Raises: ConfigError with the first problem's code ("unknown-key", "missing-key", "unknown-name",
    "bad-value", "conflict") and a line per problem; `details["problems"]` lists them.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise refusal(problems(model, document, error)) from error


def refusal(found: Sequence[Problem]) -> ConfigError:
    """Return the error for some problems: the first one's code, a line for each."""
    return ConfigError(
        found[0].code,
        "\n".join(map(str, found)),
        problems=[
            {
                "code": p.code,
                "key": p.key,
                "place": p.place,
                "message": p.message,
                "suggestion": p.suggestion,
            }
            for p in found
        ],
    )


def problems(model: type[BaseModel], document: Document, error: ValidationError) -> list[Problem]:
    """Translate pydantic's errors, one problem per key."""
    by_key: dict[Location, list[dict[str, Any]]] = {}
    for item in _flat(error.errors(include_url=False), ()):
        by_key.setdefault(_in_data(document.data, item), []).append(item)
    # A union complains about each member; the deepest complaint is about the one that was meant.
    deepest = [k for k in by_key if not any(k == o[: len(k)] for o in by_key if len(o) > len(k))]
    return [_problem(model, document, key, by_key[key]) for key in deepest]


def _flat(errors: Any, prefix: Location) -> Iterator[dict[str, Any]]:
    """Yield errors with full locations; those of an extension's own config are unfolded."""
    for item in errors:
        loc = (*prefix, *item["loc"])
        if item["type"] == "extension":
            yield from _flat(item["ctx"]["errors"], loc)
        else:
            yield {**item, "loc": loc}


def _in_data(data: Any, item: dict[str, Any]) -> Location:
    """Leave out what pydantic adds for members of a union: parts that are no keys of the data."""
    kept: list[int | str] = []
    for part in item["loc"]:
        inner = _step(data, part)
        if inner is not _MISSING:
            kept.append(part)
            data = inner
    return (*kept, item["loc"][-1]) if item["type"] == "missing" else tuple(kept)


def _step(data: Any, part: int | str) -> Any:  # Any: JSON values
    if isinstance(data, Mapping) and part in data:
        return data[part]
    if isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
        return data[part]
    return _MISSING


def _problem(
    model: type[BaseModel], document: Document, loc: Location, items: list[dict[str, Any]]
) -> Problem:
    key = ".".join(map(str, loc))
    first = items[0]
    code = _CODES.get(first["type"], "bad-value" if loc else "conflict")
    place = document.place(key) if loc else None
    if code == "unknown-key":
        meant = suggest_key(model, document.data, loc)
        others = "" if meant is not None else _others(model, document.data, loc)
        return Problem(code, key, place, f"there is no key {key!r}{others}", meant)
    if code == "missing-key":
        return Problem(code, key, place, f"{key} is missing")
    if code in ("conflict", "both-quantizations"):
        return Problem(code, key, place, first["msg"].removeprefix("Value error, "))
    given = first["input"]
    if code == "unknown-name":  # the registry's own words hold the suggestion already
        return Problem(code, key, document.place(f"{key}.type"), first["msg"])
    if isinstance(given, Mapping) and first["type"] == "value_error":  # a rule over several keys
        rule = _wanted(items)
        return Problem(code, key, place, rule if rule.startswith(key) else f"{key}: {rule}")
    wanted = f"{key}={_shown(given)} {_wanted(items)}"
    return Problem(code, key, place, wanted, _nearest_choice(given, items))


def _shown(given: Any) -> str:  # Any: what people wrote
    text = repr(given)
    return text if len(text) <= 80 else text[:80] + "…"


def _wanted(items: list[dict[str, Any]]) -> str:
    """Join what each member of a union would have accepted into one sentence."""
    wanted = [
        re.sub(r"^(Input|Value error,) ?|, unable to parse.*", "", item["msg"]) for item in items
    ]
    first, *rest = dict.fromkeys(w[:1].lower() + w[1:] for w in wanted)
    return " or ".join([first, *(r.removeprefix("should be ") for r in rest)])


def _nearest_choice(given: Any, items: list[dict[str, Any]]) -> str | None:
    choices = [c for i in items for c in re.findall(r"'([^']+)'", str(_expected(i)))]
    return nearest(given, choices) if isinstance(given, str) and choices else None


def _expected(item: dict[str, Any]) -> Any:
    return item.get("ctx", {}).get("expected", "")


# What other training tools call our keys (LLaMA-Factory, Axolotl, TRL); near misses by letters would not find them.
_ELSEWHERE = {
    "learning_rate": "trainer.lr",
    "num_epochs": "trainer.epochs",
    "num_train_epochs": "trainer.epochs",
    "per_device_train_batch_size": "trainer.batch_rows",
    "micro_batch_size": "trainer.batch_rows",
    "batch_size": "trainer.batch_rows",
    "gradient_accumulation_steps": "trainer.accumulation",
    "lr_scheduler_type": "trainer.schedule",
    "lr_scheduler": "trainer.schedule",
    "warmup_ratio": "trainer.warmup",
    "warmup_steps": "trainer.warmup",
    "max_grad_norm": "trainer.clip",
    "optim": "trainer.optimizer",
    "label_smoothing_factor": "trainer.label_smoothing",
    "neftune_noise_alpha": "trainer.neftune_alpha",
    "load_best_model_at_end": "trainer.keep_best",
    "early_stopping_patience": "trainer.patience",
    "early_stopping_threshold": "trainer.min_delta",
    "report_to": "trainer.trackers",
    "ema_decay": "trainer.ema",
    "max_seq_length": "data.max_length",
    "sequence_len": "data.max_length",
    "cutoff_len": "data.max_length",
    "max_samples": "data.limit",
    "val_set_size": "data.eval_share",
    "lora_r": "adapter.r",
    "lora_rank": "adapter.r",
    "rank": "adapter.r",
    "targets": "adapter.target_modules",
    "lora_target": "adapter.target_modules",
    "lora_target_modules": "adapter.target_modules",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "quantization_bit": "adapter.bits",
    "load_in_4bit": "adapter.bits",
    "load_in_8bit": "adapter.bits",
    "freeze_trainable_layers": "adapter.layers",
    "model_name_or_path": "model.path",
    "base_model": "model.path",
}


def suggest_key(model: type[BaseModel], data: Any, loc: Location) -> str | None:
    """Return the key that was meant: a sibling, else a key of that name elsewhere, dotted."""
    *parents, wrong = loc
    siblings = _model_at(model, data, tuple(parents))
    wrong = str(wrong)
    near = nearest(wrong, siblings.model_fields) if siblings is not None else None
    if near is not None:
        return ".".join(map(str, (*parents, near)))
    known = list(keys(model, data))
    if _ELSEWHERE.get(wrong) in known:
        return _ELSEWHERE[wrong]
    elsewhere = {key.rpartition(".")[2]: key for key in reversed(known)}
    other = wrong if wrong in elsewhere else nearest(wrong, elsewhere) if len(wrong) > 2 else None
    if other is not None:
        return elsewhere[other]
    theirs = nearest(wrong, _ELSEWHERE)
    return None if theirs is None or _ELSEWHERE[theirs] not in known else _ELSEWHERE[theirs]


def _others(model: type[BaseModel], data: Any, loc: Location) -> str:
    """Return the keys there are beside one that nothing resembles, as the end of a sentence."""
    siblings = _model_at(model, data, loc[:-1])
    if siblings is None or len(loc) < 2:
        return ""
    section = ".".join(map(str, loc[:-1]))
    return f"; {section} has {', '.join(siblings.model_fields)}"


def keys(model: type[BaseModel], data: Any = None, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a config class; sections of an extension by the data's `type`."""
    for name, field in model.model_fields.items():
        yield prefix + name
        inner = _inner(field, data.get(name) if isinstance(data, Mapping) else None)
        if inner is not None and "tuple" not in str(field.annotation):
            within = data.get(name) if isinstance(data, Mapping) else None
            yield from keys(inner, within, f"{prefix}{name}.")


def _model_at(model: type[BaseModel], data: Any, loc: Location) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    field: Any = None  # Any: pydantic's FieldInfo
    for part in loc:
        data = _step(data, part)
        if isinstance(part, int):
            found = _inner(field, data) if field is not None else found
        elif found is not None:
            field = found.model_fields.get(part)
            found = _inner(field, data) if field is not None else None
    return found


def _inner(field: Any, data: Any) -> type[BaseModel] | None:  # Any: pydantic's FieldInfo, JSON
    """Return the config class of a section, or None for a plain value."""
    for mark in field.metadata:
        if isinstance(mark, Owned):
            try:
                config: type[BaseModel] = registry(mark.kind).config_of(mark.name(data))
            except ConfigError:
                return None
            return config
    classes = list(_models(field.annotation))
    meant = (c for c in classes if getattr(c, "takes", lambda _: False)(data))
    return next(meant, classes[0] if classes else None)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
