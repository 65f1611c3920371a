"""Files to mappings with places: YAML, JSON, TOML, and single values as on a command line.

Knows nothing about which keys mean something; `config/validate` does. The only place that parses
YAML, by the rules of YAML 1.2 (`on` is a text, `1e-4` a number), without tags or code.
"""

import json
import math
import re
import shlex
import tomllib
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from stead.config.document import Document
from stead.core import files
from stead.core.errors import ConfigError, NotFound

SUFFIXES = (".yaml", ".yml", ".json", ".toml")
_MAX_BYTES = 4 << 20  # a recipe has kilobytes; more is another kind of file
_MAX_NODES = 100_000  # aliases can multiply a few lines into gigabytes
_MAX_DEPTH = 64
_MAX_BRACKETS = 256  # PyYAML's scanner takes quadratic time in open brackets


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalar types of YAML 1.2 (core schema, section 10.3.2)."""


class _Dumper(yaml.SafeDumper):
    """Quotes a text that `_Loader` would read as something else."""


_SCALARS = {
    "tag:yaml.org,2002:null": (r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "tag:yaml.org,2002:bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    "tag:yaml.org,2002:int": (r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    "tag:yaml.org,2002:float": (
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
}
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Quote and escape what PyYAML would write raw and read back as a line break."""
    style = '"' if _ODD.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
for _class in (_Loader, _Dumper):
    _class.yaml_implicit_resolvers = {}
    for _tag, (_pattern, _first) in _SCALARS.items():
        _class.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def read(path: Path) -> Document:
    """Read a settings or recipe file by its ending.

    Raises: NotFound("no-file"); ConfigError("unknown-suffix" | "not-utf8" | "bad-yaml" |
    "bad-json" | "bad-toml" | "duplicate-key" | "not-finite" | "empty" | "too-large").
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(
            "unknown-suffix",
            f"{str(path)!r} ends in {suffix!r}; known endings: {', '.join(SUFFIXES)}",
            hint=f"stead data inspect {shlex.quote(str(path))}",  # rows, given for a recipe
        )
    text = _text(path)
    if suffix == ".json":
        return parse_json(text, str(path))
    return parse_toml(text, str(path)) if suffix == ".toml" else parse_yaml(text, str(path))


def _text(path: Path) -> str:
    if not path.is_file():
        raise NotFound("no-file", f"there is no file {str(path)!r}")
    if path.stat().st_size > _MAX_BYTES:
        raise ConfigError("too-large", f"{str(path)!r} is larger than {_MAX_BYTES} bytes")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("not-utf8", f"{str(path)!r} is not UTF-8 (byte {error.start})") from error


def parse_yaml(text: str, name: str) -> Document:
    """Parse YAML 1.2 text; `name` is the file's name in errors."""
    if _brackets(text) > _MAX_BRACKETS:
        raise ConfigError("too-large", f"{name} is nested too deeply")
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError("bad-yaml", f"{_where(error, name)}: {_reason(error)}") from error
    except RecursionError as error:
        raise ConfigError("too-large", f"{name} is nested too deeply") from error
    return _document(node, name)


def _brackets(text: str) -> int:
    """Return how deep brackets are open at most, quotes not looked at."""
    steps = (1 if c in "[{" else -1 for c in re.findall(r"[\[\]{}]", text))
    return max(accumulate(steps), default=0)


def _where(error: yaml.YAMLError, name: str) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{name}:{mark.line + 1}" if mark is not None else name


def _reason(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None)
    return str(problem) if problem else str(error).partition("\n")[0]


def _document(node: yaml.Node | None, name: str) -> Document:
    if node is None:
        raise ConfigError("empty", f"{name} is empty")
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError("not-a-mapping", f"{name}:1 should hold `key: value` lines")
    builder = _Builder(name)
    data: dict[str, Any] = builder.build(node, ())
    return Document(data, builder.places)


class _Builder:
    """Turn YAML nodes into plain values, noting the line of every key."""

    def __init__(self, name: str, *, lines: bool = True) -> None:
        self.name = name
        self.lines = lines
        self.places: dict[str, str] = {}
        self._nodes = 0

    def build(self, node: yaml.Node, path: tuple[str, ...]) -> Any:  # Any: a JSON value
        self._nodes += 1
        where = f"{self.name}:{node.start_mark.line + 1}" if self.lines else self.name
        if self._nodes > _MAX_NODES or len(path) > _MAX_DEPTH:
            raise ConfigError("too-large", f"{where}: too many or too deeply nested values")
        if path:
            self.places.setdefault(".".join(path), where)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, str(i))) for i, item in enumerate(node.value)]
        return _scalar(node, where)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            where = f"{self.name}:{key_node.start_mark.line + 1}"
            key = _scalar(key_node, where) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                shown = getattr(key_node, "value", "?")
                raise ConfigError("bad-key", f"{where}: the key {shown!r} is no text; quote it")
            if key in found:
                dotted = ".".join((*path, key))
                raise ConfigError("duplicate-key", f"{where}: the key {dotted!r} is given twice")
            self.places[".".join((*path, key))] = where
            found[key] = self.build(value_node, (*path, key))
        return found


def _scalar(node: yaml.Node, where: str) -> Any:  # Any: str, int, float, bool or None
    text, kind = str(node.value), node.tag.rpartition(":")[2]
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, 0) if text[:2] in ("0x", "0o") else _integer(text, where)
        case "float":
            return _finite(float(text.replace(".inf", "inf").replace(".nan", "nan")), text, where)
        case "str":
            return text
    raise ConfigError("bad-yaml", f"{where}: the tag {node.tag!r} is not allowed")


def _integer(text: str, where: str) -> int:
    if len(text) > 40:  # int() refuses 4,300 digits with a ValueError of its own
        raise ConfigError("bad-value", f"{where}: {text[:40]}… is too long for a number")
    return int(text)


def _finite(value: float, text: str, where: str) -> float:
    if not math.isfinite(value):
        raise ConfigError("not-finite", f"{where}: {text} is no usable number")
    return value


def parse_json(text: str, name: str) -> Document:
    """Parse JSON text; duplicate keys and NaN are refused, lines are found by a second reading."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in items:
            if key in found:
                raise ConfigError("duplicate-key", f"{name}: the key {key!r} is given twice")
            found[key] = value
        return found

    def constant(word: str) -> float:
        raise ConfigError("not-finite", f"{name}: {word} is no usable number")

    try:
        data = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise ConfigError("bad-json", f"{name}:{error.lineno}: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError("too-large", f"{name} is nested too deeply or too long") from error
    if not isinstance(data, dict):
        raise ConfigError("not-a-mapping", f"{name}:1 should hold one object")
    return Document(data, _json_places(text, name))


def _json_places(text: str, name: str) -> dict[str, str]:
    try:
        return parse_yaml(text.replace("\t", " "), name).places  # JSON is YAML but for tabs
    except ConfigError:
        return {}


def parse_toml(text: str, name: str) -> Document:
    """Parse TOML text; dates and infinities are refused."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError("bad-toml", f"{name}: {error}") from error
    places = _toml_places(text, name)
    _plain(data, (), Document(data, places), name)
    return Document(data, places)


def _toml_places(text: str, name: str) -> dict[str, str]:
    places: dict[str, str] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.\-]+)\s*\]+", line):
            table = header[1]
            places.setdefault(table, f"{name}:{number}")
        elif pair := re.match(r"\s*([\w.\-]+)\s*=", line):
            places.setdefault(f"{table}.{pair[1]}".lstrip("."), f"{name}:{number}")
    return places


def _plain(value: Any, path: tuple[str, ...], document: Document, name: str) -> None:
    where = document.place(".".join(path)) if path else None
    if isinstance(value, dict):
        for key, item in value.items():
            _plain(item, (*path, key), document, name)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _plain(item, (*path, str(i)), document, name)
    elif isinstance(value, float):
        _finite(value, str(value), where if where is not None else name)
    elif not isinstance(value, str | int | bool):
        raise ConfigError("bad-value", f"{where}: {value!s} is no text, number or switch")


def value(text: str, name: str = "value") -> Any:  # Any: a JSON value
    """Read one value as YAML would: `-s trainer.lr=1e-4` is a number, `-s name=on` a text.

    `name` is what an error calls it. What is no YAML, such as `@file` or `# 1`, is a text.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError:
        return text
    return text if node is None else _Builder(name, lines=False).build(node, ())


def assignment(text: str) -> tuple[str, Any]:
    """Split `key.path=value`. Raises: ConfigError("bad-assignment") when there is no `=`."""
    key, equals, given = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            "bad-assignment", f"{text!r} should be key.path=value, for instance trainer.lr=1e-4"
        )
    try:
        return key.strip(), value(given)
    except ConfigError as error:
        raise ConfigError("bad-assignment", f"{text!r}: {error.message}") from error


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Write a mapping as YAML that `parse_yaml` reads back equal."""
    text: str = yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def dump(path: Path, data: Mapping[str, Any]) -> None:
    """Write a mapping to a .yaml, .yml or .json file, atomically."""
    if path.suffix.lower() == ".json":
        files.write_json(path, dict(data))
    elif path.suffix.lower() in (".yaml", ".yml"):
        files.write_text(path, dump_yaml(data))
    else:
        raise ConfigError("unknown-suffix", f"{str(path)!r} should end in .yaml, .yml or .json")
