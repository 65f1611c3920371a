"""Import heavy libraries on first use, or say exactly how to install them.

Knows nothing about what is imported. Try: `torch = lazy("torch", extra="train")`.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

from stead.core.errors import MissingDependency


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


def installed(name: str) -> bool:
    """Say whether module `name` could be imported, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
