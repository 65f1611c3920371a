"""Ollama's Modelfile: read it into the fields of the server's `create`.

Knows nothing about the server. Source: ollama docs/modelfile.md.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stead.core.errors import ConfigError

_WORDS = ("FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE", "REQUIRES")
_LINE = re.compile(rf"[ \t]*(?P<word>{'|'.join(_WORDS)})\s+", re.IGNORECASE)
_NUMBERS = re.compile(r"-?\d+(\.\d+)?")


@dataclass(slots=True)
class Modelfile:
    """What a Modelfile says; paths are relative to `folder`."""

    folder: Path
    sources: list[str] = field(default_factory=list)
    adapter_sources: list[str] = field(default_factory=list)
    template: str | None = None
    system: str | None = None
    licenses: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)  # Any: numbers, texts, list of texts
    messages: list[dict[str, str]] = field(default_factory=list)

    def files(self) -> list[Path]:
        """Return the files that FROM names; none when it names a model of the server."""
        return [found for text in self.sources for found in self._paths(text)]

    def adapters(self) -> list[Path]:
        """Return the adapter's files."""
        return [found for text in self.adapter_sources for found in self._paths(text)]

    def fields(self) -> dict[str, Any]:
        """Return the fields of `create`, without the files."""
        found: dict[str, Any] = {}
        named = [text for text in self.sources if not self._paths(text)]
        values = {
            "from": named[0] if named else None,
            "template": self.template,
            "system": self.system,
            "license": self.licenses if self.licenses else None,
            "parameters": self.parameters if self.parameters else None,
            "messages": self.messages if self.messages else None,
        }
        found.update({key: value for key, value in values.items() if value is not None})
        return found

    def _paths(self, text: str) -> list[Path]:
        path = (self.folder / Path(text).expanduser()).resolve()
        if path.is_dir():
            return sorted(
                p for p in path.iterdir() if p.suffix in (".safetensors", ".json", ".gguf")
            )
        written = text.startswith((".", "/", "~")) or text.endswith((".gguf", ".safetensors"))
        return [path] if path.is_file() or written else []


def read(path: Path) -> Modelfile:
    """Read a Modelfile, or take a GGUF file as one that says FROM it.

    Raises: ConfigError("bad-modelfile") naming file and line.
    """
    if path.suffix == ".gguf":
        return Modelfile(path.parent, sources=[str(path.resolve())])
    if not path.is_file():
        raise ConfigError("bad-modelfile", f"there is no file {str(path)!r}")
    found = Modelfile(path.parent)
    text = path.read_text(encoding="utf-8")
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        line = text[at : end if end >= 0 else len(text)]
        match = _LINE.match(text, at)
        if not line.strip() or line.lstrip().startswith("#"):
            at += len(line) + 1
        elif match is None:
            number = text.count("\n", 0, at) + 1
            raise ConfigError("bad-modelfile", f"{path}:{number}: {line[:60]!r} is no instruction")
        else:
            value, at = _value(text, match.end(), path)
            _take(found, match["word"].upper(), value, path)
    if not found.sources:
        raise ConfigError("bad-modelfile", f"{path} has no FROM")
    return found


def _value(text: str, at: int, path: Path) -> tuple[str, int]:
    """Return an instruction's value, over several lines when in triple quotes, and where it ends."""
    if text.startswith('"""', at):
        end = text.find('"""', at + 3)
        if end < 0:
            number = text.count("\n", 0, at) + 1
            raise ConfigError("bad-modelfile", f'{path}:{number}: """ is never closed')
        return text[at + 3 : end], end + 3
    end = text.find("\n", at)
    end = end if end >= 0 else len(text)
    return _unquoted(text[at:end].strip()), end + 1


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _take(found: Modelfile, word: str, value: str, path: Path) -> None:
    if word in ("TEMPLATE", "SYSTEM"):
        setattr(found, word.lower(), value)
    elif word == "PARAMETER":
        _parameter(found.parameters, value, path)
    elif word == "MESSAGE":
        role, _, content = value.partition(" ")
        found.messages.append({"role": role, "content": _unquoted(content.strip())})
    else:
        lists = {
            "FROM": found.sources, "ADAPTER": found.adapter_sources, "LICENSE": found.licenses,
        }  # fmt: skip
        lists.get(word, []).append(value)  # REQUIRES only concerns Ollama's own version


def _parameter(into: dict[str, Any], text: str, path: Path) -> None:
    name, _, raw = text.partition(" ")
    value = raw.strip()
    if not value:
        raise ConfigError("bad-modelfile", f"{path}: the parameter {name!r} has no value")
    if name == "stop":
        into.setdefault("stop", []).append(_unquoted(value))
    elif _NUMBERS.fullmatch(value):
        into[name] = float(value) if "." in value else int(value)
    else:
        into[name] = {"true": True, "false": False}.get(value, _unquoted(value))
