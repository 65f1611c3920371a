"""Open a strategy as one Backend: read it, find what it needs on this machine, compose it.

Knows nothing about surfaces or where strategies are kept (`strategy_library`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stead.app.accounts import Accounts
from stead.app.budgets import Accounted
from stead.app.monitoring import MetricsPort, WithPort
from stead.app.programs import program
from stead.app.strategy_library import Found, Library, environment_of, find
from stead.config.model_catalog import catalog
from stead.config.recipe import read_recipe
from stead.config.strategy import Strategy
from stead.config.workshop import recipe_of
from stead.core.errors import ConfigError, SteadError
from stead.core.hardware import nvidia
from stead.core.metrics import Metrics
from stead.core.paths import Home
from stead.core.shared import Shared
from stead.inference.backend import Backend
from stead.inference.breaker import Breakers
from stead.inference.compose import Composed, Parts, compose
from stead.inference.meter import Ledger


@dataclass(frozen=True, slots=True)
class Around:
    """What a strategy works with beside itself; None: this process's own, or none.

    `shared` counts limits, `ledger` writes requests down, `metrics` counts them, `hooks` stands around all
    but the watch; `breakers` are those of every strategy that asks the same endpoints.
    """

    environment: Mapping[str, str] | None = None
    shared: Shared | None = None
    ledger: Ledger | None = None
    metrics: Metrics | None = None
    hooks: Callable[[Backend], Backend] | None = None
    breakers: Breakers | None = None


_ALONE = Around()


def composed(found: Found, home: Home, around: Around = _ALONE) -> Composed:
    """Build a strategy that was found; starts and asks nothing. Raises: ConfigError."""
    environment, metrics = around.environment, around.metrics
    library = Library.of(home, environment)

    def other(name: str) -> Strategy | None:
        own = found.read.get(name)
        return own if own is not None else library.find(name)

    told = found.strategy.monitoring
    port, counts = told.metrics_port, Metrics() if metrics is None else metrics
    off = {n: r for read in library.reads.values() for n, r in read.off.items()} | found.read.off
    parts = Parts(
        local=lambda spec: program(spec, home),
        find=other,
        off=off,
        gpu_gb=[gpu.memory_bytes / 1e9 for gpu in nvidia()] if _needs_gpu(found.strategy) else (),
        shared=around.shared,
        ledger=around.ledger,
        metrics=counts,
        environment=environment_of(home) if environment is None else environment,
        hooks=around.hooks,
        models=catalog(),
        breakers=around.breakers,
    )
    made = compose(found.strategy, parts)
    if port is None or not told.metrics_enabled:
        return made
    return replace(made, backend=WithPort(made.backend, MetricsPort(counts, port)))


def _needs_gpu(strategy: Strategy) -> bool:
    limits = strategy.constraints
    return limits.requires_gpu or limits.min_gpu_memory is not None


def open(
    name_or_file: str | Path | None, home: Home, around: Around = _ALONE
) -> tuple[Backend, Strategy]:
    """Return a strategy as one Backend, and the strategy; starts and asks nothing.

    Raises: NotFound("unknown-strategy"), ConfigError.
    """
    found = find(name_or_file, home, around.environment)
    return accounted(found, home, around).backend, found.strategy


def accounted(found: Found, home: Home, around: Around = _ALONE) -> Composed:
    """Build a strategy as `composed` does; its requests are written down and its budgets counted.

    That happens in the data directory, like a server's, unless `around` says where.
    """
    if around.shared is not None or around.ledger is not None:
        return composed(found, home, around)
    accounts = Accounts.open(home, actor="strategy")
    try:
        kept = replace(around, shared=accounts.shared, ledger=accounts.ledger)
        made = composed(found, home, kept)
    except BaseException:
        accounts.database.close()
        raise
    return replace(made, backend=Accounted(made.backend, accounts))


def exported(found: Found) -> dict[str, Any]:  # Any: JSON values
    """Return a file that holds one strategy as it was written, `${VARIABLE}`s kept."""
    written = found.read.raw.data["strategies"]
    own = next(s for s in written if s["name"] == found.strategy.name)
    kept = {k: v for k, v in own.items() if k != "template"}  # its keys are in it by now
    return {"version": found.read.file.version, "strategies": [kept]}


@dataclass(frozen=True, slots=True)
class PartState:
    """One part of a strategy: whether it can be used here, and why not."""

    name: str
    type: str
    model: str = ""
    reason: str = ""


def part_states(found: Found, made: Composed | None) -> list[PartState]:
    """Return the state of every part: endpoints in the order of answering, then what trains and converts."""
    candidates = () if made is None else made.candidates
    states = [
        PartState(c.name, c.vendor, c.model, "" if c.unavailable is None else c.unavailable)
        for c in candidates
    ]
    components = found.strategy.components
    for slot in ("fine_tuner", "repository", "converter"):
        part = getattr(components, slot)
        if part is None:
            continue
        reason = found.off.get(slot, "")
        if slot == "fine_tuner" and not reason:
            reason = _unfit(found)
        states.append(PartState(slot, part.type, reason=reason))
    return states


def _unfit(found: Found) -> str:
    try:
        read_recipe(recipe(found))
    except SteadError as error:
        return error.message
    return ""


def recipe(found: Found) -> dict[str, Any]:  # Any: JSON values
    """Return the training recipe that a strategy's parts stand for. Raises: ConfigError("no-fine-tuner")."""
    components = found.strategy.components
    if components.fine_tuner is None:
        raise ConfigError("no-fine-tuner", f"{found.strategy.name!r} trains nothing")
    return recipe_of(components.fine_tuner, components.converter)
