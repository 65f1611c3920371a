"""What a server answers for: local models and strategies behind one Backend, by name.

Knows nothing about sockets or commands. Strategies answer to their own name and to their models'; a name
that several have belongs to the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stead.app import strategies
from stead.app.engines import Engines, Keeping, LocalModel, Wanted, choose
from stead.app.models import Models
from stead.app.plugins import Plugins
from stead.app.several import Several
from stead.app.shelf import Shelved, standard, tuned_names
from stead.app.strategy_library import Found, environment_of, find
from stead.config.settings import read_settings
from stead.config.strategy import Strategy
from stead.core.errors import ConfigError
from stead.core.metrics import Metrics
from stead.core.paths import Home
from stead.core.shared import MemoryShared, Shared
from stead.inference.backend import Backend
from stead.inference.breaker import Breaker, Breakers
from stead.inference.compose import Composed
from stead.inference.limits import Limits, Rules
from stead.inference.meter import Ledger, Meter
from stead.inference.prices import FREE
from stead.inference.retry import Retry
from stead.inference.route import ByName
from stead.inference.strict import Strict
from stead.inference.wrapper import Wrapper

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
    found: tuple[Found, ...] = ()  # the strategies, and where each stands
    engines: Engines | None = None  # of every model on this machine, loaded on demand

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """What of it is strategies."""
        return tuple(found.strategy for found in self.found)

    def begin(self, preload: Sequence[str]) -> None:
        """Begin to load what shall be in memory from the start. Called within the server's loop."""
        if self.engines is not None:
            self.engines.begin(preload)

    def breakers(self) -> list[tuple[tuple[str, ...], float]]:
        """Return each circuit breaker's name and state: 0 closed, 1 half open, 2 open."""
        return [((b.name,), float(_STATES.index(b.state))) for b in self.circuits]

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


def every(home: Home) -> tuple[Engines, frozenset[str]]:
    """Return the engines of all models of this machine, and the names they answer to."""
    settings = read_settings(home).value.engines
    shelf = standard(Models(home), settings)
    return Engines(shelf, home, Keeping.of(settings)), shelf.answers()


def tuned(home: Home) -> tuple[Engines, frozenset[str]]:
    """Return the engines of the models that were fine-tuned here, beside models that were chosen."""
    settings = read_settings(home).value.engines
    shelf = Shelved(more=tuned_names(home), runs=home.runs)
    return Engines(shelf, home, Keeping.of(settings)), shelf.answers()


def served(
    models: Sequence[Wanted],
    wanted_strategies: Sequence[str],
    home: Home,
    books: Books,
    everything: tuple[Engines, frozenset[str]] | None = None,
    *,
    may_be_empty: bool = False,
) -> Served:
    """Compose what is asked for; nothing is started. `everything`: all models of this machine, and their names.

    With `everything`, every model that is found on this machine is loaded when it is first asked for.
    `may_be_empty`: none needs to be there yet.

    Raises: ConfigError("nothing-to-serve", "same-name"), and what choosing and finding raise.
    """
    if not models and not wanted_strategies and everything is None:
        raise ConfigError("nothing-to-serve", "which model? give --model or --strategy")
    plugins = Plugins(home)
    notes = plugins.load()
    local = [_local(wanted, home) for wanted in models]
    composed = _composed(wanted_strategies, home, books, plugins)
    own = [m.order.name for m in local]
    names = own + [found.strategy.name for found, _ in composed]
    if not names and everything is not None and not everything[1] and not may_be_empty:
        raise ConfigError(
            "nothing-to-serve", "no model was found on this machine", hint="stead models --refresh"
        )
    double = sorted({n for n in names if names.count(n) > 1})
    if double:
        raise ConfigError("same-name", f"{double[0]!r} would be served twice; give one a --name")
    parts = [(made.names, made.backend) for _, made in composed]
    if local:
        adapted = frozenset(m.order.name for m in local if m.order.adapters)
        targets = {m.order.name: (m, m.order.name) for m in local}
        by_name = ByName(targets, adapted, describes=True)
        parts.insert(0, (frozenset(own), plugins.around(_counted(by_name, books))))
    rest: Backend | None = None
    if everything is not None:  # by what is there when it is asked for, not when the server began
        rest = plugins.around(_counted(everything[0], books))
        names += sorted(everything[1].difference(names))
    backend = parts[0][1] if len(parts) == 1 and rest is None else Several(parts, rest)
    circuits = (_breaker_of(c.backend) for _, made in composed for c in made.candidates)
    return Served(
        backend,
        tuple(names),
        tuple(local),
        (*notes, *(found.note for found, _ in composed if found.note)),
        tuple(dict.fromkeys(b for b in circuits if b is not None)),
        tuple(found for found, _ in composed),
        None if everything is None else everything[0],
    )


def _composed(
    names: Sequence[str], home: Home, books: Books, plugins: Plugins
) -> list[tuple[Found, Composed]]:
    """Find strategies and build them. Raises: what finding and composing raise."""
    variables = environment_of(home)
    around = strategies.Around(
        variables, books.shared, books.ledger, books.metrics, plugins.around,
        breakers=Breakers(),  # one circuit per endpoint, whatever strategies ask it
    )  # fmt: skip
    found = [find(name, home, variables) for name in names]
    return [(one, strategies.composed(one, home, around)) for one in found]


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
