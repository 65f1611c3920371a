"""Import heavy libraries on first use, or say exactly how to install them.

Knows nothing about what is imported. Try: `torch = lazy("torch", extra="train")`.
"""

import ast
import importlib
import importlib.metadata
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from stead.core.errors import ConfigError, MissingDependency


class _Lazy(ModuleType):
    """A module that imports itself on the first attribute access."""

    def __init__(self, name: str, extra: str) -> None:
        super().__init__(name)
        self.__dict__["_stead_extra"] = extra

    def __getattr__(self, attribute: str) -> Any:  # Any: attributes of an unknown module
        if attribute.startswith("__") and attribute.endswith("__"):
            raise AttributeError(attribute)  # inspection must not trigger the import
        there = sys.modules.get(self.__name__)  # importing again would take ten times as long
        if there is None:
            there = load(self.__name__, extra=self.__dict__["_stead_extra"])
        return getattr(there, attribute)


def lazy(name: str, *, extra: str) -> Any:  # Any: stands for the module itself
    """Return a stand-in for module `name` that imports it on first attribute access.

    Raises (on that access): MissingDependency("not-installed") with the pip line as hint.
    """
    return _Lazy(name, extra)


def load(name: str, *, extra: str) -> ModuleType:
    """Import module `name`, or raise MissingDependency with the exact install line."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != name.split(".", maxsplit=1)[0]:
            raise  # the library is there, and broken: its own message says more
        raise MissingDependency(
            "not-installed",
            f"the library {name!r} is not installed",
            hint=f"pip install 'stead[{extra}]'",
        ) from error


def named(text: str) -> Any:  # Any: whatever stands under that name
    """Return what `module:name` or `file.py:name` means; the file's code is run.

    Only for names that the user of this machine wrote: never for text that came over a network.
    Raises: as `require_named`.
    """
    place, attribute = require_named(text)
    try:
        module = from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except (ImportError, OSError, SyntaxError) as error:
        raise ConfigError("unknown-function", f"{place!r} cannot be imported: {error}") from error
    if not hasattr(module, attribute):
        raise ConfigError("unknown-function", f"{place!r} has no {attribute!r}")
    return getattr(module, attribute)


def require_named(text: str) -> tuple[str, str]:
    """Split `module:name` or `file.py:name`; refuse what cannot be there. No code is run.

    A module is not looked for: what another process finds depends on where it is started.
    Raises: ConfigError("bad-function-name" | "unknown-function").
    """
    place, _, attribute = text.rpartition(":")
    if not place or not attribute:
        raise ConfigError(
            "bad-function-name", f"{text!r} is no name like module:function or file.py:function"
        )
    if not place.endswith(".py"):
        return place, attribute
    path = Path(place)
    if not path.is_file():
        raise ConfigError(
            "unknown-function", f"{place!r} cannot be imported: there is no such file",
            hint=f"ls {shlex.quote(str(path.parent))}",
        )  # fmt: skip
    code = path.read_text(encoding="utf-8", errors="replace")
    try:
        ast.parse(code)
    except (SyntaxError, ValueError) as error:
        raise ConfigError("unknown-function", f"{place!r} cannot be imported: {error}") from error
    if not re.search(rf"\b{re.escape(attribute)}\b", code) and "import *" not in code:
        raise ConfigError(
            "unknown-function", f"{place!r} has no {attribute!r}",
            hint=f"grep -n '^def ' {shlex.quote(place)}",
        )  # fmt: skip
    return place, attribute


def from_file(path: Path) -> ModuleType:
    """Run a Python file and return its module. Raises: ImportError, and what its code raises."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"there is no file {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def folder_of(name: str) -> Path | None:
    """Return the folder that holds module `name`'s file, without importing it; None when absent."""
    spec = importlib.util.find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def version(name: str) -> str:
    """Return the version of an installed library without importing it; "" when it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def installed(name: str) -> bool:
    """Say whether module `name` could be imported, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
