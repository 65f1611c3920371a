"""Strategies by name: those that ship, those in the data directory, any file, and the one in use.

Knows nothing about building one. A name that is no strategy may be a use case: its first strategy is meant.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stead.config import load
from stead.config.settings import read_env
from stead.config.strategy import Strategy
from stead.config.strategy_check import Known
from stead.config.strategy_read import Read, read_strategies
from stead.core import files
from stead.core.errors import ConfigError, NotFound
from stead.core.paths import Home
from stead.core.suggest import nearest
from stead.inference.vendor_rows import rows

BUILT_IN = Path(load.__file__).parent / "strategies"
_DEFAULT = "strategy.json"


@dataclass(frozen=True, slots=True)
class Found:
    """A strategy, the file it stands in, and what a person should know (a use case was meant)."""

    strategy: Strategy
    path: Path
    read: Read
    note: str = ""

    @property
    def off(self) -> Mapping[str, str]:
        """What of it is switched off, and why."""
        return self.read.off.get(self.strategy.name, {})


@dataclass(frozen=True, slots=True)
class Library:
    """Every strategy that is installed, in the order in which a name is looked for."""

    reads: Mapping[Path, Read]

    @classmethod
    def of(cls, home: Home, environment: Mapping[str, str] | None = None) -> "Library":
        """Read what ships and what the data directory has; its own come first."""
        own = home.root / "strategies"
        environment = environment_of(home) if environment is None else environment
        found: dict[Path, Read] = {}
        shipped = {p: read_file(p, environment) for p in sorted(BUILT_IN.glob("*.yaml"))}
        below = {s.name: s for r in shipped.values() for s in r.file.strategies}
        for path in sorted(own.glob("*.y*ml")) if own.is_dir() else ():
            found[path] = read_file(path, environment, below)
        return cls(found | shipped)

    def all(self) -> Iterator[Found]:
        """Yield each strategy once; the data directory's hides a shipped one of the same name."""
        seen: set[str] = set()
        for path, read in self.reads.items():
            for strategy in read.file.strategies:
                if strategy.name not in seen:
                    seen.add(strategy.name)
                    yield Found(strategy, path, read)

    def use_cases(self) -> dict[str, tuple[str, ...]]:
        """Return use case → strategies."""
        cases: dict[str, tuple[str, ...]] = {}
        for read in self.reads.values():
            for case, names in read.file.use_case_mapping.items():
                cases.setdefault(case, names)
        return cases

    def find(self, name: str) -> Strategy | None:
        """Return the strategy called `name`."""
        return next((f.strategy for f in self.all() if f.strategy.name == name), None)

    def get(self, name: str) -> Found:
        """Return a strategy by its name or its use case. Raises: NotFound("unknown-strategy")."""
        by_name = {f.strategy.name: f for f in self.all()}
        if name in by_name:
            return by_name[name]
        cases = self.use_cases()
        if cases.get(name):
            found = by_name[cases[name][0]]
            note = f"{name!r} is a use case: its first strategy is {found.strategy.name!r}"
            return Found(found.strategy, found.path, found.read, note)
        near = nearest(name, [*by_name, *cases])
        ask = f"; did you mean {near!r}?" if near is not None else ""
        raise NotFound(
            "unknown-strategy",
            f"there is no strategy {name!r}{ask} (known: {', '.join(by_name)})",
            hint="stead strategy list",
        )


def read_file(
    path: Path,
    environment: Mapping[str, str] | None = None,
    strategies: Mapping[str, Strategy] | None = None,
) -> Read:
    """Read and check a strategy file against the vendors there are, and `strategies` besides its own."""
    vendors = {name: facts.place for name, facts in rows().items()}
    return read_strategies(path, environment, Known(vendors, strategies or {}))


def find(
    name_or_file: str | Path | None, home: Home, environment: Mapping[str, str] | None = None
) -> Found:
    """Return a strategy by name, use case or file; None: the one in use.

    A file of several strategies needs its name behind a colon: `strategies.yaml:fast`; without one its first
    counts. Raises: NotFound, ConfigError.
    """
    if name_or_file is None:
        name_or_file = in_use(home)
    text = str(name_or_file)
    path, _, name = text.rpartition(":") if ":" in text else (text, "", "")
    if Path(text).suffix in load.SUFFIXES or Path(path).suffix in load.SUFFIXES:
        return _in_file(Path(path), name, home, environment)
    return Library.of(home, environment).get(text)


def _in_file(path: Path, name: str, home: Home, environment: Mapping[str, str] | None) -> Found:
    environment = environment_of(home) if environment is None else environment
    library = Library.of(home, environment)
    read = read_file(path, environment, {f.strategy.name: f.strategy for f in library.all()})
    inside = Library({path: read})
    if name:
        return inside.get(name)
    if not read.file.strategies:
        raise NotFound("unknown-strategy", f"{str(path)!r} holds no strategy")
    return Found(read.file.strategies[0], path, read)


def in_use(home: Home) -> str:
    """Return the name or file that `use` has remembered. Raises: ConfigError("no-strategy")."""
    path = home.state / _DEFAULT
    if not path.is_file():
        raise ConfigError(
            "no-strategy", "no strategy is in use", hint="stead strategy use local_development"
        )
    return str(load.read(path).data["strategy"])


def use(name_or_file: str, home: Home) -> Found:
    """Remember a strategy as the one in use, once it has been found and checked."""
    found = find(name_or_file, home)
    path = Path(found.path).resolve()
    is_file = Path(name_or_file.rpartition(":")[0] or name_or_file).suffix in load.SUFFIXES
    said = f"{path}:{found.strategy.name}" if is_file else found.strategy.name
    home.ensure().state.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write_json(home.state / _DEFAULT, {"strategy": said})
    return found


def environment_of(home: Home) -> Mapping[str, str]:
    """Return the variables of the process over those of the data directory's .env."""
    path = home.root / ".env"
    return (read_env(path) if path.is_file() else {}) | dict(os.environ)
