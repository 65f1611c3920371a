"""What a server answers for: local models and strategies behind one Backend, by name.

Knows nothing about sockets or commands. Strategies answer to their own name and to their models'; a name
that several have belongs to the first.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from stead.app import strategies
from stead.app.engines import Engines, Keeping, LocalModel, Wanted, choose
from stead.app.models import Models
from stead.app.plugins import Plugins
from stead.app.several import Several
from stead.app.shelf import standard
from stead.app.strategy_library import environment_of, find
from stead.config.settings import EngineSettings, read_settings
from stead.core.errors import ConfigError
from stead.core.metrics import Metrics
from stead.core.paths import Home
from stead.core.shared import MemoryShared, Shared
from stead.inference.backend import Backend
from stead.inference.breaker import Breaker
from stead.inference.limits import Limits, Rules
from stead.inference.meter import Ledger, Meter
from stead.inference.prices import FREE
from stead.inference.retry import Retry
from stead.inference.route import ByName
from stead.inference.strict import Strict
from stead.inference.wrapper import Wrapper

_LOG = logging.getLogger("stead.server")
_STATES = ("closed", "half-open", "open")


@dataclass(frozen=True, slots=True)
class Served:
    """`backend` answers for everything; `local` are the engines to start, `names` what clients may ask.

    `notes` are what the user should know: plugins that are not used, a use case that was meant.
    """

    backend: Backend
    names: tuple[str, ...]
    local: tuple[LocalModel, ...] = ()
    notes: tuple[str, ...] = ()
    circuits: tuple[Breaker, ...] = ()
    engines: Engines | None = None
    preload: tuple[str, ...] = ()

    def breakers(self) -> list[tuple[tuple[str, ...], float]]:
        """Return each circuit breaker's name and state: 0 closed, 1 half open, 2 open."""
        return [((b.name,), float(_STATES.index(b.state))) for b in self.circuits]

    async def start(self) -> None:
        """Load what the settings want loaded from the start; what cannot be is only told."""
        if self.engines is not None:
            failed = await self.engines.preload(self.preload)
            for name, error in failed.items():
                _LOG.warning("%s cannot be loaded: %s", name, error)

    def stop(self) -> None:
        """Stop the engines, without a loop."""
        for model in self.local:
            model.stop()


@dataclass(frozen=True, slots=True)
class Books:
    """Where counts and sums are kept: limits shared by processes, spend, metrics."""

    metrics: Metrics
    shared: Shared | None = None
    ledger: Ledger | None = None


def served(
    models: Sequence[Wanted],
    wanted_strategies: Sequence[str],
    home: Home,
    books: Books,
    *,
    everything: bool = False,
) -> Served:
    """Compose what is asked for; nothing is started.

    With `everything`, every model that is found on this machine is loaded when it is first asked for.

    Raises: ConfigError("nothing-to-serve", "same-name"), and what choosing and finding raise.
    """
    if not models and not wanted_strategies and not everything:
        raise ConfigError("nothing-to-serve", "which model? give --model, --strategy or --local")
    plugins = Plugins(home)
    notes = plugins.load()
    local = [_local(wanted, home) for wanted in models]
    names = [m.order.name for m in local]
    variables = environment_of(home)
    circuits: list[Breaker] = []
    parts: list[tuple[frozenset[str], Backend]] = []
    for name in wanted_strategies:
        found = find(name, home, variables)
        made = strategies.composed(
            found,
            home,
            environment=variables,
            shared=books.shared,
            ledger=books.ledger,
            metrics=books.metrics,
            hooks=plugins.around,
        )
        parts.append((made.names, made.backend))
        circuits += [b for c in made.candidates if (b := _breaker_of(c.backend)) is not None]
        names.append(found.strategy.name)
        notes += [found.note] if found.note else []
    double = sorted({n for n in names if names.count(n) > 1})
    if double:
        raise ConfigError("same-name", f"{double[0]!r} would be served twice; give one a --name")
    if local:
        here = _counted(ByName({m.order.name: (m, m.order.name) for m in local}), books)
        parts.insert(0, (frozenset(m.order.name for m in local), plugins.around(here)))
    settings = read_settings(home).value.engines
    preload = tuple(settings.preload) if everything else ()
    found_here = _everything(home, settings) if everything else None
    rest = None if found_here is None else plugins.around(_counted(found_here, books))
    backend = parts[0][1] if len(parts) == 1 and rest is None else Several(parts, rest)
    return Served(
        backend, tuple(names), tuple(local), tuple(notes), tuple(circuits), found_here, preload
    )


def _everything(home: Home, settings: EngineSettings) -> Engines:
    return Engines(standard(Models(home), settings), home, Keeping.of(settings))


def _breaker_of(backend: Backend | None) -> Breaker | None:
    while backend is not None:
        if isinstance(backend, Retry):
            return backend.breaker
        backend = backend.inner if isinstance(backend, Wrapper) else None
    return None


def _counted(backend: Backend, books: Books) -> Backend:
    """Put the limits of keys and the ledger around what runs here, which costs nothing."""
    shared = MemoryShared() if books.shared is None else books.shared
    limited = Limits(backend, shared, Rules(), prices=lambda _: [FREE], price_of=lambda _: FREE)
    if books.ledger is None:
        return Strict(limited)
    return Strict(Meter(limited, books.ledger, price_of=lambda _: FREE))


def _local(wanted: Wanted, home: Home) -> LocalModel:
    engine, order = choose(wanted, home)
    return LocalModel(engine, order, home)
