"""What a server answers for: local models and strategies behind one Backend, by name.

Knows nothing about sockets or commands. Strategies answer to their own name and to their models'; a name
that several have belongs to the first.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import chain

from stead.app import strategies
from stead.app.engines import Engines, LocalModel, Wanted, choose
from stead.app.plugins import Plugins
from stead.app.strategy_library import environment_of, find
from stead.config.strategy import Strategy
from stead.core.errors import ConfigError, NotFound
from stead.core.metrics import Metrics
from stead.core.paths import Home
from stead.core.shared import MemoryShared, Shared
from stead.core.suggest import nearest
from stead.inference.backend import Backend
from stead.inference.breaker import Breaker, Breakers
from stead.inference.limits import Limits, Rules
from stead.inference.meter import Ledger, Meter
from stead.inference.prices import FREE
from stead.inference.retry import Retry
from stead.inference.route import ByName
from stead.inference.wrapper import Wrapper
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, ModelCard, Reply

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
    strategies: tuple[Strategy, ...] = ()
    engines: Engines | None = None  # of every model on this machine, loaded on demand

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


def served(
    models: Sequence[Wanted],
    wanted_strategies: Sequence[str],
    home: Home,
    books: Books,
    every: tuple[Engines, frozenset[str]] | None = None,
) -> Served:
    """Compose what is asked for; nothing is started. `every`: all models of this machine, and their names.

    Raises: ConfigError("nothing-to-serve", "same-name"), and what choosing and finding raise.
    """
    if not models and not wanted_strategies and every is None:
        raise ConfigError("nothing-to-serve", "which model? give --model or --strategy")
    plugins = Plugins(home)
    notes = plugins.load()
    local = [_local(wanted, home) for wanted in models]
    names = [m.order.name for m in local]
    variables = environment_of(home)
    circuits: list[Breaker] = []
    breakers = Breakers()  # one circuit per endpoint, whatever strategies ask it
    chosen: list[Strategy] = []
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
            breakers=breakers,
        )
        parts.append((made.names, made.backend))
        circuits += [b for c in made.candidates if (b := _breaker_of(c.backend)) is not None]
        names.append(found.strategy.name)
        chosen.append(found.strategy)
        notes += [found.note] if found.note else []
    if not names and every is not None and not every[1]:
        raise ConfigError(
            "nothing-to-serve", "no model was found on this machine", hint="stead models --refresh"
        )
    double = sorted({n for n in names if names.count(n) > 1})
    if double:
        raise ConfigError("same-name", f"{double[0]!r} would be served twice; give one a --name")
    if local:
        here = _counted(ByName({m.order.name: (m, m.order.name) for m in local}), books)
        parts.insert(0, (frozenset(m.order.name for m in local), plugins.around(here)))
    if every is not None:
        parts.append((every[1], plugins.around(_counted(every[0], books))))
        names += sorted(every[1].difference(names))
    backend = parts[0][1] if len(parts) == 1 else Several(parts)
    once = tuple(dict.fromkeys(circuits))
    engines = None if every is None else every[0]
    return Served(backend, tuple(names), tuple(local), tuple(notes), once, tuple(chosen), engines)


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
        return limited
    return Meter(limited, books.ledger, price_of=lambda _: FREE)


def _local(wanted: Wanted, home: Home) -> LocalModel:
    engine, order = choose(wanted, home)
    return LocalModel(engine, order, home)


class Several(Backend):
    """Backends by the names each answers to; the first that knows a name has it."""

    def __init__(self, parts: Sequence[tuple[frozenset[str], Backend]]) -> None:
        self._parts = tuple(parts)

    def _find(self, name: str) -> Backend:
        for names, backend in self._parts:
            if name in names:
                return backend
        known = sorted(set(chain.from_iterable(names for names, _ in self._parts)))
        near = nearest(name, known)
        ask = f"; did you mean {near!r}?" if near else ""
        raise NotFound(
            "model-not-found", f"the model {name[:200]!r} is not served here{ask}", param="model"
        )

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole. Raises: NotFound("model-not-found")."""
        return await self._find(request.model).generate(request, deadline)

    def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece. Raises: NotFound("model-not-found"), at once."""
        return self._find(request.model).stream(request, deadline)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors. Raises: NotFound("model-not-found")."""
        return await self._find(request.model).embed(request, deadline)

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt. Raises: NotFound("model-not-found")."""
        return await self._find(request.model).count(request, deadline)

    async def models(self) -> list[ModelCard]:
        """List every name once."""
        listed = await asyncio.gather(*(backend.models() for _, backend in self._parts))
        return list({card.id: card for card in reversed([*chain(*listed)])}.values())[::-1]

    async def close(self) -> None:
        """Close every Backend."""
        for _, backend in self._parts:
            await backend.close()
