"""Names to classes: the one extension mechanism, for built-in files, entry points and plugins.

Knows nothing about any kind of extension. A kind is a base class and a folder; the file name is the
extension's name, and the file holds exactly one public subclass of the base. Listing names imports
nothing. Try: `Registry("method", "stead.training.methods", base="stead.training.method:Method")`.
"""

import difflib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, get_type_hints

from stead.core import lazy
from stead.core.errors import ConfigError, MissingDependency

T = TypeVar("T")


class Registry(Generic[T]):
    """The extensions of one kind.

    `package` is scanned for files; entry points of group `stead.<kind>` add to them; `register` adds
    a class made at run time. A name can be taken once; a clash names both origins.
    """

    def __init__(self, kind: str, package: str, base: str) -> None:
        self.kind = kind
        self.package = package
        self._base = base
        self._added: dict[str, tuple[str, Callable[[], type[T]]]] = {}
        self._loaded: dict[str, type[T]] = {}

    @property
    def base(self) -> type[T]:
        """The class every extension of this kind derives from."""
        module, _, name = self._base.partition(":")
        found: type[T] = getattr(importlib.import_module(module), name)
        return found

    def names(self) -> list[str]:
        """List every known name, sorted, without importing one."""
        return sorted(self._origins())

    def origin(self, name: str) -> str:
        """Say where `name` comes from: a module, an entry point or the caller's words."""
        return self._origins()[name]

    def register(self, name: str, extension: type[T], *, override: bool = False) -> None:
        """Add a class under `name`. Raises: ConfigError("duplicate") unless `override`."""
        where = f"{extension.__module__}.{extension.__qualname__}"
        known = self._origins()
        if name in known and not override:
            raise ConfigError(
                "duplicate",
                f"the {self.kind} {name!r} of {where} is already taken by {known[name]}",
            )
        self._loaded.pop(name, None)
        self._added[name] = (where, lambda: extension)

    def register_file(self, name: str, path: Path) -> None:
        """Add the one public subclass in a Python file, imported at its first use.

        Only for files that the user has enabled. Raises: ConfigError("duplicate").
        """
        known = self._origins()
        if name in known and known[name] != str(path):
            raise ConfigError(
                "duplicate", f"the {self.kind} {name!r} of {path} is already taken by {known[name]}"
            )
        self._added[name] = (str(path), lambda: self._only_one(lazy.from_file(path)))

    def fingerprint(self, name: str) -> str | None:
        """Return a hash of what an entry point's distribution has installed; None for other origins.

        It is made of the distribution's list of files, each with its hash, without importing any.
        """
        for point in self._points:
            if point.name == name and point.dist is not None:
                record = point.dist.read_text("RECORD")
                text = f"{point.dist.version}\n{point.value}\n{'' if record is None else record}"
                return hashlib.sha256(text.encode()).hexdigest()
        return None

    def get(self, name: str) -> type[T]:
        """Import and return the class called `name`.

        Raises: ConfigError("unknown-<kind>") with the nearest name; ConfigError("bad-extension")
        when the file does not hold exactly one public subclass.
        """
        if name not in self._loaded:
            origins = self._origins()
            if name not in origins:
                raise self._unknown(name, sorted(origins))
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def create(self, name: str, **arguments: Any) -> T:  # Any: the extension's own arguments
        """Make an instance after checking that the extension can work here.

        Raises: MissingDependency when a library named in its `requires` is absent.
        """
        extension = self.get(name)
        self.require(name)
        return extension(**arguments)

    def require(self, name: str) -> None:
        """Check that an extension can work here, without making one.

        Raises: MissingDependency when a library named in its `requires` is absent.
        """
        extension = self.get(name)
        missing = [r for r in getattr(extension, "requires", ()) if not _present(r)]
        if missing:
            raise MissingDependency(
                "not-installed",
                f"the {self.kind} {name!r} needs {', '.join(map(repr, missing))}",
                hint="pip install " + " ".join(missing),
            )

    def config_of(self, name: str) -> type[Any]:  # Any: a pydantic model class
        """Return the config class an extension declares by its annotation `config: X`."""
        declared = (c for c in self.get(name).__mro__ if "config" in inspect.get_annotations(c))
        owner = next(declared)
        # Only this one annotation: others may name a library that is not installed.
        hint = {"config": inspect.get_annotations(owner)["config"]}
        alone = type("Only", (), {"__module__": owner.__module__, "__annotations__": hint})
        config: type[Any] = get_type_hints(alone)["config"]
        return config

    def _origins(self) -> dict[str, str]:
        found = {}
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                found[module.name] = f"{self.package}.{module.name}"
        for point in self._points:
            if point.name in found:
                raise ConfigError(
                    "duplicate",
                    f"the {self.kind} {point.name!r} of {point.value} is already taken by "
                    f"{found[point.name]}",
                )
            found[point.name] = point.value
        return found | {name: where for name, (where, _) in self._added.items()}

    @cached_property
    def _points(self) -> importlib.metadata.EntryPoints:
        """The group's entry points; reading them opens a file per installed distribution."""
        return importlib.metadata.entry_points(group=f"stead.{self.kind}")

    def _load(self, name: str) -> type[T]:
        if name in self._added:
            return self._added[name][1]()
        where = self._origins()[name]
        module_name, _, attribute = where.partition(":")
        module = importlib.import_module(module_name)
        if attribute:
            found: type[T] = getattr(module, attribute)
            return found
        return self._only_one(module)

    def _only_one(self, module: ModuleType) -> type[T]:
        classes: list[type[T]] = [
            value
            for key, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, self.base)
            and value.__module__ == module.__name__
            and not key.startswith("_")
        ]
        if len(classes) != 1:
            raise ConfigError(
                "bad-extension",
                f"{module.__name__} holds {len(classes)} public subclasses of {self._base}, not one",
            )
        return classes[0]

    def _unknown(self, name: str, known: list[str]) -> ConfigError:
        near = difflib.get_close_matches(name, known, n=1)
        ask = f"; did you mean {near[0]!r}?" if near else ""
        return ConfigError(
            f"unknown-{self.kind}",
            f"there is no {self.kind} {name!r}{ask} (known: {', '.join(known)})",
            kind=self.kind,
            name=name,
            suggestion=near[0] if near else None,
        )


def _present(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
