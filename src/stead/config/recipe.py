"""A recipe file, or a mapping, with options on top → a checked RunConfig and where each value is from.

Knows nothing about models or hardware. Later layers win: file, then mapping, then each override.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.config import load, presets
from stead.config.document import Document, assign, from_mapping, substitute
from stead.config.run import ADAPTER, METHOD, RunConfig
from stead.config.validate import validate

_OWNED = {mark.kind: mark for mark in (METHOD, ADAPTER)}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A checked configuration and the place of each key that somebody wrote."""

    config: RunConfig
    document: Document

    def origin(self, key: str) -> str | None:
        """Say where `key` was written, or None when nobody wrote it."""
        return self.document.places.get(key)


def read_recipe(
    source: RunConfig | Mapping[str, Any] | Path | None,
    overrides: Mapping[str, Any] | None = None,
    origin: str = "call",
) -> Recipe:
    """Read a recipe and put dotted overrides on top.

    An override's key is dotted ("trainer.lr"); its origin is `origin`, or a value of the form
    `Given(value, origin)` brings its own. Raises: ConfigError, NotFound.
    """
    document = _expand(_open(source, origin))
    for key, value in (overrides or {}).items():
        given = value if isinstance(value, Given) else Given(value, origin)
        document = _put(document, key, given)
    document = _spell_out(document)
    return Recipe(validate(RunConfig, document), document)


@dataclass(frozen=True, slots=True)
class Given:
    """An override with its own origin, for instance "option --lr"."""

    value: Any  # Any: a JSON value
    origin: str


def _open(source: RunConfig | Mapping[str, Any] | Path | None, origin: str) -> Document:
    if isinstance(source, Path):
        return substitute(load.read(source))
    if isinstance(source, RunConfig):
        source = source.model_dump(mode="json", exclude_unset=True)
    return from_mapping(source, origin) if source is not None else Document({})


def _expand(document: Document) -> Document:
    """Spell `method: sft` out as `method: {type: sft}`, so that overrides can add keys to it."""
    data, places = dict(document.data), dict(document.places)
    for key in _OWNED:
        if isinstance(data.get(key), str):
            data[key] = {"type": data[key]}
            places[f"{key}.type"] = places.get(key, "call")
    return Document(data, places)


def _spell_out(document: Document) -> Document:
    """Replace a preset's name ("qlora", "simcse", …) by the sections it stands for.

    What somebody wrote wins; an adapter that somebody named keeps its own settings.
    """
    name = METHOD.name(document.data.get("method", {}))
    found = presets.sections(name)
    if found is None:
        return document
    data, places = dict(document.data), dict(document.places)
    origin = places.get("method.type", places.get("method", "call"))
    written = {k: v for k, v in data["method"].items() if k != "type"}
    data["method"] = found["method"] | written
    given = data.get("adapter", {})
    if (
        "adapter" in found
        and given.get("type", found["adapter"]["type"]) == found["adapter"]["type"]
    ):
        data["adapter"] = found["adapter"] | given
        places.setdefault("adapter.type", f"{origin} ({name})")
    return Document(data, places)


def _put(document: Document, key: str, given: Given) -> Document:
    """Set one override; naming another method or adapter drops the settings of the former."""
    owned = _OWNED.get(key.removesuffix(".type"))
    if owned is None or not isinstance(given.value, str):
        return assign(document, {key: given.value}, given.origin)
    before = document.data.get(owned.kind)
    if isinstance(before, Mapping) and owned.name(before) != given.value:
        data = {k: v for k, v in document.data.items() if k != owned.kind}
        places = {k: p for k, p in document.places.items() if not k.startswith(owned.kind)}
        document = Document(data, places)
    return assign(document, {f"{owned.kind}.type": given.value}, given.origin)
