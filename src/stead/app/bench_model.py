"""Measure how fast a model is: load time, first token, tokens per second, memory at its peak.

Knows nothing about surfaces. Each run starts the engine anew, so that loading is measured each time.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from stead.app.engines import LocalModel, Wanted, choose
from stead.core import usage
from stead.core.errors import ConfigError
from stead.core.events import Emit, Finished, Progress, Started, ignore
from stead.core.paths import Home
from stead.evaluation import speed
from stead.inference.backend import Backend

_STAGE = "bench"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the runs, with the least and the most that was seen."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread | None":
        """Return the spread of what was measured; None when nothing was."""
        known = [v for v in values if v is not None]
        return cls(median(known), min(known), max(known)) if known else None

    def to_list(self) -> list[float]:
        """Return median, least, most."""
        return [self.median, self.least, self.most]


@dataclass(frozen=True, slots=True)
class Benched:
    """What was measured of one model. Units: seconds, tokens per second, bytes of the engine's programs.

    `load_s` and `memory_bytes` are None for a model that somebody else runs.
    """

    model: str
    engine: str
    runs: int
    load_s: Spread | None
    first_token_s: Spread
    tokens_per_s: Spread
    memory_bytes: Spread | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; a spread is [median, least, most]."""
        found: dict[str, Any] = {"model": self.model, "engine": self.engine, "runs": self.runs}
        for name in ("load_s", "first_token_s", "tokens_per_s", "memory_bytes"):
            spread = getattr(self, name)
            found[name] = None if spread is None else spread.to_list()
        return found


@dataclass(frozen=True, slots=True)
class Once:
    """One run."""

    load_s: float | None
    first_token_s: float
    tokens_per_s: float
    memory_bytes: float | None


def bench_local(
    wanted: Wanted, home: Home, *, runs: int = 3, tokens: int = 64, emit: Emit = ignore
) -> Benched:
    """Measure a local model; its engine is started and stopped once per run.

    Raises: what choosing and starting raise; ConfigError("no-runs").
    """
    engine, order = choose(wanted, home)

    def once() -> Once:
        local = LocalModel(engine, order, home)
        begun = time.monotonic()
        local.start()
        load_s = time.monotonic() - begun
        return asyncio.run(_measured(local, order.name, tokens, load_s, lambda: _peak(local)))

    return _benched(order.name, engine, runs, once, emit)


def bench_remote(
    make: Callable[[], Backend],
    model: str,
    by: str,
    *,
    runs: int = 3,
    tokens: int = 64,
    emit: Emit = ignore,
) -> Benched:
    """Measure a model that somebody else runs; `make` returns a Backend, closed after each run."""

    def once() -> Once:
        return asyncio.run(_measured(make(), model, tokens, None, lambda: None))

    return _benched(model, by, runs, once, emit)


def _benched(model: str, by: str, runs: int, once: Callable[[], Once], emit: Emit) -> Benched:
    if runs < 1:
        raise ConfigError("no-runs", f"{runs} runs measure nothing")
    emit(Started(stage=_STAGE, total=runs, unit="run", info={"model": model}))
    found = []
    for number in range(runs):
        found.append(once())
        emit(Progress(stage=_STAGE, done=number + 1))
    emit(Finished(stage=_STAGE))
    first, rate = (
        Spread.of([o.first_token_s for o in found]),
        Spread.of([o.tokens_per_s for o in found]),
    )
    assert first is not None  # noqa: S101 - there was a run
    assert rate is not None  # noqa: S101
    memory = Spread.of([o.memory_bytes for o in found])
    return Benched(model, by, runs, Spread.of([o.load_s for o in found]), first, rate, memory)


async def _measured(
    backend: Backend,
    model: str,
    tokens: int,
    load_s: float | None,
    memory: Callable[[], float | None],
) -> Once:
    """Answer once to warm up and once measured; then read the memory, then stop."""
    try:
        found = await speed.measure(backend, model, rounds=1, tokens=tokens, load_s=load_s)
        used = await asyncio.to_thread(memory)
    finally:
        await backend.close()
    return Once(found.load_s, found.first_token_s, found.tokens_per_s, used)


def _peak(local: LocalModel) -> float | None:
    """Return the largest resident bytes of the engine's programs; where nobody kept it, what it is now."""
    pid = None if local.endpoint is None else local.endpoint.pid
    if pid is None or not Path(f"/proc/{pid}/status").is_file():
        return local.memory_bytes()
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return float(sum(usage.peak_bytes(Path(f"/proc/{one}")) for one in family))
