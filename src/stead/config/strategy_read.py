"""A strategy file → checked strategies, each with what is switched off and why.

Knows nothing about which strategies are installed. An unset `${VARIABLE}` in a part's config switches
that part off, with a reason; anywhere else it is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stead.config import load
from stead.config.document import Document, merge_maps, substitute, unset_variable
from stead.config.strategy import Strategy, StrategyFile
from stead.config.strategy_check import Known, refuse
from stead.config.validate import validate
from stead.core.errors import ConfigError

_UNSET = "\0unset\0"  # no text of a file can hold it


@dataclass(frozen=True, slots=True)
class Read:
    """A checked file: its strategies, what of each is switched off, and where each key was written.

    `off` goes from strategy to part ("cloud_api", or the number of a chain entry) to reason.
    `raw` is the file before `${VARIABLE}`s were replaced: what may be shown and exported.
    """

    file: StrategyFile
    document: Document
    raw: Document
    off: dict[str, dict[str, str]] = field(default_factory=dict)

    def get(self, name: str) -> Strategy | None:
        """Return the strategy called `name`."""
        return next((s for s in self.file.strategies if s.name == name), None)


def read_strategies(
    source: Path | Document,
    environment: Mapping[str, str] | None = None,
    known: Known | None = None,
) -> Read:
    """Read and check a strategy file.

    `known` holds the vendors and strategies of the installation; without it their names are not
    checked. Raises: ConfigError with a line per problem; NotFound("no-file").
    """
    raw = _with_templates(load.read(source) if isinstance(source, Path) else source)
    data, off, error = _substituted(raw, environment)
    document = Document(data, raw.places)
    try:
        file = validate(StrategyFile, document)
    except (
        ConfigError
    ) as found:  # a key that is no key comes first: its variable may be needed nowhere
        raise found if error is None or found.code == "unknown-key" else error from found
    if error is not None:
        raise error
    refuse(file, document, known if known is not None else Known())
    named = {file.strategies[i].name: reasons for i, reasons in off.items()}
    return Read(file, document, raw, named)


def is_strategy(document: Document) -> bool:
    """Say whether a file is meant to hold strategies: it has them, or a strategy file's other keys."""
    return bool(document.data.keys() & {"strategies", "use_case_mapping", "strategy_templates"})


def _with_templates(raw: Document) -> Document:
    """Lay each strategy over the template it names, deeply; lists are replaced."""
    templates, strategies = raw.data.get("strategy_templates"), raw.data.get("strategies")
    if not isinstance(templates, dict) or not isinstance(strategies, list):
        return raw
    places = dict(raw.places)
    merged: list[Any] = []  # Any: JSON values
    for i, strategy in enumerate(strategies):
        name = strategy.get("template") if isinstance(strategy, dict) else None
        template = templates.get(name) if isinstance(name, str) else None
        if not isinstance(template, dict):
            merged.append(strategy)
            continue
        merged.append(merge_maps(template, strategy))
        prefix = f"strategy_templates.{name}."
        for key, place in raw.places.items():
            if key.startswith(prefix):
                places.setdefault(f"strategies.{i}.{key.removeprefix(prefix)}", place)
    return Document(raw.data | {"strategies": merged}, places)


def _substituted(
    raw: Document, environment: Mapping[str, str] | None
) -> tuple[dict[str, Any], dict[int, dict[str, str]], ConfigError | None]:
    """Replace variables; return the data, null for unset ones, the reasons by strategy and part, and
    the error for the first one that no part can do without.
    """
    off: dict[int, dict[str, str]] = {}
    errors: list[ConfigError] = []

    def unset(path: tuple[str, ...], name: str) -> str | None:
        match path:
            case ("strategies", i, "components", part, "config", *_):
                pass
            case ("strategies", i, "fallback_chain", part, "config", *_):
                pass
            case _:
                errors.append(unset_variable(raw, path, name))
                return _UNSET
        off.setdefault(int(i), {})[part] = f"the variable {name} is not set"
        return _UNSET

    data: dict[str, Any] = _blanked(substitute(raw, environment, unset).data)
    return data, off, errors[0] if errors else None


def _blanked(value: Any) -> Any:  # Any: JSON values
    """Put null for a text whose variable is not set: its part is off, and the key is still checked."""
    if isinstance(value, dict):
        return {k: _blanked(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_blanked(v) for v in value]
    return None if isinstance(value, str) and _UNSET in value else value
