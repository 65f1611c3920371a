"""The platform's settings: shown with where each value is from, changed in the data directory's file, taken back.

Knows nothing about HTTP. A change is checked whole before it is written; each is a version of the history. What
the environment says is not ours to change. Secrets are neither shown nor kept in the history.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic_core import PydanticUndefined

from stead.config import load
from stead.config.document import Document, assign
from stead.config.settings import ALIASES, Settings, read_settings, resolve
from stead.config.validate import keys
from stead.core.errors import ConfigError, NotFound
from stead.core.paths import Home
from stead.core.secret import MASK
from stead.store.settings import Change, SettingsHistory

_SECRET = frozenset({"database_url", "count_limits_in"})  # may hold a password
_FILE_ONLY = frozenset(
    {"database_url", "count_limits_in", "engines.llama_server", "engines.vllm", "engines.ollama", "engines.ollama_url",
     "engines.gemma", "engines.models_dirs"}
)  # fmt: skip
"""Programs, places and addresses: whoever has a browser's session may not choose what this machine starts or asks."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting. `value` of a secret is masked; `origin` is a file's line, a variable, or "default".

    `fixed` says why it cannot be changed through the API, "" when it can.
    """

    key: str
    value: Any  # JSON value
    default: Any  # JSON value
    origin: str
    description: str
    secret: bool
    choices: tuple[str, ...] = ()
    fixed: str = ""


def shown(home: Home) -> list[Shown]:
    """Return every setting."""
    found = read_settings(home)
    values = found.value.model_dump(mode="json")
    made = []
    for key in keys(Settings):
        model, value = Settings, values
        *sections, name = key.split(".")
        for section in sections:
            model, value = model.model_fields[section].annotation, value[section]  # type: ignore[assignment]
        if isinstance(value[name], dict):
            continue  # a section: its keys follow
        field = model.model_fields[name]
        default = None if field.default is PydanticUndefined else field.default
        secret = key in _SECRET
        given = MASK if secret and value[name] not in (None, default) else value[name]
        choices = tuple(c for c in get_args(field.annotation) if isinstance(c, str))
        about = "" if field.description is None else field.description
        origin = found.origins[key]
        why = _fixed(home, key, origin)
        made.append(Shown(key, given, default, origin, about, secret, choices, why))
    return made


def change(
    home: Home, history: SettingsHistory, actor: str, key: str, value: Any
) -> Shown:  # Any: JSON value
    """Set one setting in config.yaml; None takes it out, so that the default counts.

    Raises: NotFound("unknown-setting"); ConfigError for a value that is not allowed, for one that the environment
    decides ("set-by-environment", status 409), and for what is set in the file alone ("file-only", status 403).
    """
    one = next((s for s in shown(home) if s.key == key), None)
    if one is None:
        raise NotFound("unknown-setting", f"there is no setting {key[:100]!r}", param="key")
    _check_settable(home, key)
    if one.origin.startswith("environment"):
        raise ConfigError("set-by-environment", one.fixed, status=409)
    file = load.read(home.config) if home.config.is_file() else Document({})
    before = _at(file.data, key)
    data = _without(file.data, key) if value is None else assign(file, {key: value}, "request").data
    resolve(Settings, file=Document(data), aliases=ALIASES)  # raises when the whole would not hold
    load.dump(home.ensure().config, data)
    after = None if value is None else {"value": value}
    hidden = {"value": MASK}
    if one.secret:
        before, after = (None if v is None else hidden for v in (before, after))
    history.add(actor, key, before, after)
    return next(s for s in shown(home) if s.key == key)


def _check_settable(home: Home, key: str) -> None:
    """Refuse what only the file may say. Raises: ConfigError("file-only", status 403)."""
    if key in _FILE_ONLY:
        raise ConfigError("file-only", _fixed(home, key, ""), status=403)


def _fixed(home: Home, key: str, origin: str) -> str:
    """Return why a setting is not ours to change, "" when it is."""
    if key in _FILE_ONLY:
        return f"{key} names a program, place or address: it is set in {home.config.name} of the data directory"
    if origin.startswith("environment"):
        return f"{key} is set by the {origin}"
    return ""


def restore(home: Home, history: SettingsHistory, actor: str, version: int) -> Shown:
    """Take a change back: the setting gets the value it had before. Raises: NotFound; as `change`."""
    found: Change = history.get(version)
    if found.key in _SECRET:
        raise ConfigError(
            "secret-setting", f"{found.key} is a secret; its former value was not kept", status=409
        )
    value = None if found.before is None else found.before["value"]
    return change(home, history, actor, found.key, value)


def _at(data: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    value: Any = data
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return {"value": value}


def _without(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    head, dot, rest = key.partition(".")
    found = dict(data)
    if dot and isinstance(found.get(head), Mapping):
        found[head] = _without(found[head], rest)
    elif not dot:
        found.pop(head, None)
    return found
