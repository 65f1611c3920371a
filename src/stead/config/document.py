"""A mapping whose keys know where they were written: merging, assigning, `${VARIABLE}`.

Knows nothing about file formats or which keys mean something.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stead.core.errors import ConfigError

_VARIABLE = re.compile(r"\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Document:
    """A mapping and where each of its keys was written.

    `places` goes from dotted key to "file:line", or to the option or variable that gave the value.
    """

    data: dict[str, Any]  # Any: JSON values
    places: dict[str, str] = field(default_factory=dict)

    def place(self, key: str) -> str | None:
        """Return the place of `key`, else of the nearest key around it."""
        while key not in self.places and "." in key:
            key = key.rpartition(".")[0]
        return self.places.get(key)


def from_mapping(data: Mapping[str, Any], origin: str) -> Document:
    """Make a document of a mapping that came from no file; every key's place is `origin`."""
    return Document(dict(data), dict.fromkeys(_dotted(data), origin))


def _dotted(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, item in data.items():
        yield f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from _dotted(item, f"{prefix}{key}.")


def merge_maps(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge deeply: mappings key by key; anything else of `over` replaces what `base` has."""
    merged = dict(base)
    for key, given in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(given, Mapping)
        merged[key] = merge_maps(old, given) if both else given  # type: ignore[arg-type]
    return merged


def merge(base: Document, over: Document) -> Document:
    """Merge two documents deeply; `over` wins, with its places."""
    return Document(merge_maps(base.data, over.data), base.places | over.places)


def assign(document: Document, values: Mapping[str, Any], origin: str) -> Document:
    """Set dotted keys on top of a document; each new value's place is `origin`.

    Raises: ConfigError("not-a-mapping") when a key leads through something that has no keys.
    """
    for dotted, given in values.items():
        nested: Any = given
        for part in reversed(dotted.split(".")):
            nested = {part: nested}
        _refuse_leaf(document.data, dotted)
        document = merge(document, Document(nested, {dotted: origin}))
    return document


def _refuse_leaf(data: Mapping[str, Any], dotted: str) -> None:
    at: Any = data
    for part in dotted.split(".")[:-1]:
        at = at.get(part, {})
        if not isinstance(at, Mapping):
            raise ConfigError(
                "not-a-mapping", f"{dotted!r} cannot be set: {part!r} is {at!r}, it has no keys"
            )


def substitute(
    document: Document,
    environment: Mapping[str, str] | None = None,
    unset: Callable[[tuple[str, ...], str], str | None] | None = None,
) -> Document:
    """Replace `${NAME}` and `${NAME:-default}` in every text; `$${NAME}` stays as `${NAME}`.

    `unset` is asked with the path and the name of a variable that is not set; it may give a text.
    Raises: ConfigError("unset-variable") naming the variable, the key and its place.
    """
    known = os.environ if environment is None else environment

    def walk(item: Any, path: tuple[str, ...]) -> Any:
        if isinstance(item, dict):
            return {key: walk(inner, (*path, key)) for key, inner in item.items()}
        if isinstance(item, list):
            return [walk(inner, (*path, str(i))) for i, inner in enumerate(item)]
        return _VARIABLE.sub(lambda m: replace(m, path), item) if isinstance(item, str) else item

    def replace(match: re.Match[str], path: tuple[str, ...]) -> str:
        escaped, name, default = match.groups()
        if escaped:
            return match[0][1:]
        if name in known:
            return known[name]
        stand_in = unset(path, name) if unset is not None and default is None else default
        if stand_in is None:
            raise unset_variable(document, path, name)
        return str(stand_in)

    return Document(walk(document.data, ()), document.places)


def unset_variable(document: Document, path: tuple[str, ...], name: str) -> ConfigError:
    """Return the error for a variable that a key needs and that is not set."""
    key = ".".join(path)
    return ConfigError(
        "unset-variable",
        f"{document.place(key)}: {key} needs the variable {name!r}, which is not set",
        hint=f"export {name}=…",
    )
