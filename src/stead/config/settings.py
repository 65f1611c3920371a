"""Settings of the platform: call > environment and `.env` > mapping > file > default, with origins.

Knows nothing about recipes. `resolve` works for any config class; `Settings` is stead's own. Names
of other tools' variables come in as alias tables.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, Field

from stead.config import load
from stead.config.document import Document, assign, from_mapping, merge, substitute
from stead.config.kinds import Section
from stead.config.validate import keys, validate
from stead.core.errors import ConfigError
from stead.core.paths import Home
from stead.core.suggest import nearest

M = TypeVar("M", bound=BaseModel)
PREFIX = "STEAD_"
_OTHERS = ("STEAD_HOME",)  # read by core/paths, before there are settings
_SWITCH = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severity that is logged"
    )
    format: Literal["text", "json"] = Field(default="text", description="form of a log line")


class EngineSettings(Section):
    """Local models: where programs and files are, and how much of the machine they may take."""

    llama_server: str = Field(default="", description="llama.cpp's server; empty: from PATH")
    vllm: str = Field(default="", description="vLLM's program; empty: from PATH")
    ollama: str = Field(default="", description="Ollama's program; empty: from PATH")
    ollama_url: str = Field(
        default="http://127.0.0.1:11434", description="where Ollama's server answers"
    )
    ollama_auto_start: bool = Field(
        default=True, description="start Ollama's server when none answers"
    )
    gemma: str = Field(default="", description="gemma.cpp's program; empty: from PATH")
    models_dirs: list[str] = Field(default=[], description="more folders to find models in")
    auto_discover: bool = Field(default=True, description="look for models on this machine")
    memory_gb: float | None = Field(
        default=None, gt=0, description="memory of all local models; none: 80 % of the machine's"
    )
    idle_s: float = Field(
        default=300.0, ge=0, description="a model unused for so long is unloaded; 0: never"
    )
    wait_s: float = Field(default=60.0, gt=0, description="longest wait for room for a model")
    preload: list[str] = Field(default=[], description="models that are loaded at the start")


class Settings(Section):
    """The settings of the platform, the same for every run."""

    log: LogSettings = Field(default=LogSettings(), description="what is logged, and how")
    engines: EngineSettings = Field(default=EngineSettings(), description="local models")
    database_url: str | None = Field(
        default=None,
        description="address of the store, e.g. postgresql://user@host/name, or the path of a SQLite file; without it stead.db in the data directory",
    )
    count_limits_in: str = Field(
        default="memory",
        description="where limits are counted: memory (one server process), database, or redis://host:port/n",
    )
    offline: bool = Field(default=False, description="refuse every download")
    disable_tensorboard: bool = Field(
        default=False, description="do not log trainings for TensorBoard unless a recipe asks"
    )


ALIASES: dict[str, str] = {
    "HF_HUB_OFFLINE": "offline",
    "MODELFORGE_DISABLE_TENSORBOARD": "disable_tensorboard",
    "MODELFORGE_DB_PATH": "database_url",
    "OLLAMA_BASE_URL": "engines.ollama_url",
    "LLM_FRAMEWORK_MODELS_DIR": "engines.models_dirs",
}
"""Other tools' variables → our key, in order of precedence after our own name."""


@dataclass(frozen=True, slots=True)
class Resolved(Generic[M]):
    """The settings, the origin of each key, and what the user should know (unused names, clashes)."""

    value: M
    origins: dict[str, str]
    notes: tuple[str, ...] = ()


def read_settings(
    home: Home,
    *,
    call: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Resolved[Settings]:
    """Resolve stead's settings from the data directory's config.yaml and .env, and the environment.

    Raises: ConfigError naming file:line, or variable and value.
    """
    real = dict(os.environ if environment is None else environment)
    file = substitute(load.read(home.config), real) if home.config.is_file() else None
    dotenv = read_env(home.root / ".env") if (home.root / ".env").is_file() else {}
    return resolve(Settings, call=call, environment=dotenv | real, file=file, aliases=ALIASES)


def resolve(
    model: type[M],
    *,
    call: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    mapping: Mapping[str, Any] | None = None,
    file: Document | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Resolved[M]:
    """Lay the sources over one another and check the result by `model`.

    `call` has dotted keys; "not given" is absence: None, 0, "" and [] are values and win.
    """
    document = file if file is not None else Document({})
    document = merge(document, from_mapping(mapping or {}, "mapping"))
    from_environment, notes = _environment(model, environment or {}, aliases or {})
    for origin, values in (*from_environment, ("call", dict(call or {}))):
        document = assign(document, values, origin)
    value = validate(model, document)
    origins = {key: document.places.get(key, "default") for key in keys(model)}
    return Resolved(value, origins, tuple(notes))


def variable(key: str) -> str:
    """Return the name of the environment variable of a dotted key: log.level → STEAD_LOG_LEVEL."""
    return PREFIX + key.replace(".", "_").upper()


def _environment(
    model: type[BaseModel], environment: Mapping[str, str], aliases: Mapping[str, str]
) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Return (origin, {key: value}) for each variable that counts, and notes on the others."""
    leaves = {k: _field(model, k) for k in keys(model)}
    own = {variable(key): key for key in leaves}
    found: dict[str, tuple[str, Any]] = {}
    notes = _unused(environment, own)
    for name, key in {**own, **aliases}.items():
        if name not in environment or key not in leaves:
            continue
        value = _typed(name, environment[name], leaves[key])
        if key not in found:
            found[key] = (name, value)
        elif found[key][1] != value:
            notes.append(f"{name} is not used: {found[key][0]} says otherwise and comes first")
    return [(f"environment {name}", {key: v}) for key, (name, v) in found.items()], notes


def _unused(environment: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    strangers = [n for n in environment if n.startswith(PREFIX) and n not in (*own, *_OTHERS)]
    notes = []
    for name in strangers:
        near = nearest(name, own)
        notes.append(f"{name} is no setting" + (f"; did you mean {near!r}?" if near else ""))
    return notes


def _field(model: type[BaseModel], key: str) -> Any:  # Any: a type annotation
    annotation: Any = model
    for part in key.split("."):
        annotation = annotation.model_fields[part].annotation
    return annotation


def _typed(name: str, text: str, annotation: Any) -> Any:  # Any: annotation, JSON value
    """Read a variable's text by the type of its field: switches, comma lists, texts, numbers."""
    if annotation is bool:
        if text.lower() not in _SWITCH:
            raise ConfigError(
                "bad-variable",
                f"{name}={text!r} should be true or false",
                hint=f"export {name}=true",
            )
        return _SWITCH[text.lower()]
    if get_origin(annotation) in (tuple, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    if annotation is str or (get_args(annotation) and str in get_args(annotation)):
        return text
    return load.value(text) if text else text


def read_env(path: Path) -> dict[str, str]:
    """Read `NAME=value` lines of a .env file; quotes, `export` and comments are understood.

    Raises: ConfigError("bad-env") with file:line.
    """
    found: dict[str, str] = {}
    for number, raw in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        line = raw.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().isidentifier():
            raise ConfigError("bad-env", f"{path}:{number}: {name[:40]!r} is no NAME=value line")
        found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value.partition(" #")[0].rstrip()
