"""Addresses of models: what people write, and the source, name and revision it means.

Knows nothing about whether the model exists.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from stead.core.errors import UnsafeError, UsageError
from stead.core.paths import safe_name

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@.*)?", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_PREFIXES = {"hf": "huggingface", "huggingface": "huggingface", "file": "local"}


@dataclass(frozen=True, slots=True)
class Ref:
    """The address of a model: source, name (repository, path or URL) and revision, if one is given."""

    source: str
    name: str
    revision: str | None = None

    @property
    def text(self) -> str:
        """The ref as it can be written again."""
        prefix = {"huggingface": "hf:", "local": "file:"}.get(self.source, "")
        at = f"@{self.revision}" if self.revision is not None else ""
        return f"{prefix}{self.name}{at}"

    @property
    def slug(self) -> str:
        """The name as one path component."""
        last = self.name.split("#")[0].rstrip("/").rsplit("/", maxsplit=1)[-1]
        plain = self.name.replace("/", "--") if self.source == "huggingface" else last
        return re.sub(r"[^A-Za-z0-9._-]", "-", plain).lstrip("._-")[:64].rstrip(".") or "model"


def parse(text: str) -> Ref:
    """Read `hf:org/name@rev`, `org/name`, `file:…`, a path or an http(s) URL.

    A path that exists wins over a repository of the same spelling.
    Raises: UnsafeError("invalid-name"); UsageError("bad-ref").
    """
    if not text or "\0" in text or len(text) > 4096:
        raise UsageError("bad-ref", f"{text[:100]!r} is no model reference")
    if re.match(r"^https?://", text):
        return Ref("url", text)
    prefix, colon, rest = text.partition(":")
    if colon and prefix in _PREFIXES:
        return _local(rest) if prefix == "file" else _repository(rest)
    if os.path.lexists(Path(text).expanduser()) or not _REPOSITORY.fullmatch(text):
        if colon and re.fullmatch(r"[a-z]+", prefix) and not os.path.lexists(text):
            raise UsageError(
                "bad-ref",
                f"{text[:100]!r} names the source {prefix!r} (known: hf:, file:, http:, https:)",
            )
        return _local(text)
    return _repository(text)


def _local(text: str) -> Ref:
    return Ref("local", str(Path(text).expanduser().absolute()))


def _repository(text: str) -> Ref:
    name, at, revision = text.partition("@")
    parts = name.split("/")
    if len(parts) != 2:
        raise UsageError(
            "bad-ref", f"{text[:100]!r} is not org/name", hint="stead model search llama"
        )
    for part in parts:
        if ".." in safe_name(part) or "--" in part:  # `--` joins org and name in caches
            raise UnsafeError("invalid-name", f"{part!r} is no valid repository name")
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise UnsafeError("invalid-name", f"{revision[:100]!r} is no valid revision")
    return Ref("huggingface", name, revision if at else None)
