"""Local models on demand: which engine, started at the first request, kept, restarted if it died.

Knows nothing about surfaces. A local model is a Backend like any other.
"""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stead.core.errors import ConfigError, MissingDependency, ModelError
from stead.core.http import Http, Waits
from stead.core.paths import Home
from stead.engines.engine import ENGINES, Engine, Order
from stead.hub.inspect import ModelInfo, inspect, locate
from stead.inference.backend import Backend, close_stream
from stead.inference.fill import Filled
from stead.inference.remote import Remote
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, ModelCard, Reply
from stead.values import Endpoint

# Reading a long prompt on a slow machine comes before the first token; only the deadline ends it.
_WAITS = Waits(first_s=None, between_s=120.0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A local model as people ask for it; `model` is anything `hub.inspect.locate` accepts."""

    model: str
    adapter: str | None = None
    engine: str = "auto"
    name: str | None = None
    context: int | None = None
    parallel: int = 4
    threads: int | None = None
    adapters: tuple[str, ...] = ()  # folders; a request's model `name:adapter` chooses


def choose(wanted: Wanted, home: Home) -> tuple[str, Order]:
    """Return the engine for a model and the order to give it; nothing is started.

    Raises: NotFound, ModelError of `inspect`; ConfigError("engine-mismatch"); MissingDependency.
    """
    info = inspect(locate(wanted.model, home=home), home=home)
    adapter = None if wanted.adapter is None else locate(wanted.adapter, home=home)
    if info.kind == "adapter":
        if adapter is not None:
            raise ConfigError(
                "two-adapters", f"{wanted.model!r} is an adapter itself; give --model its base"
            )
        adapter, info = info.path, _base(info, home)
    engine = _engine_for(info, adapter, wanted.engine)
    _check_available(engine)
    name = wanted.name if wanted.name is not None else _name(wanted.model, adapter or info.path)
    order = Order(
        model=str(info.path),
        name=name,
        adapter=None if adapter is None else str(adapter),
        adapters=wanted.adapters,
        context=wanted.context,
        parallel=wanted.parallel,
        threads=wanted.threads,
    )
    return engine, order


def _base(info: ModelInfo, home: Home) -> ModelInfo:
    if info.base is None:
        raise ModelError(
            "no-base",
            f"the base model of the adapter {str(info.path)!r} is not here",
            hint=f"stead generate --model BASE --adapter {info.path} Hello",
        )
    return inspect(info.base, home=home)


def _name(given: str, path: Path) -> str:
    """Return a name to call the model by: what it was asked by, or the last part of its path."""
    if not Path(given).exists():
        return given
    stem = path.stem if path.is_file() else path.resolve().name
    return path.resolve().parent.name if stem == "final" else stem


def _engine_for(info: ModelInfo, adapter: Path | None, wanted: str) -> str:
    needed = {info.kind} | ({"adapter"} if adapter is not None else set())
    if wanted != "auto":
        if not needed <= ENGINES.get(wanted).loads:
            raise ConfigError(
                "engine-mismatch",
                f"the engine {wanted!r} does not load {' with '.join(sorted(needed))}: "
                f"{str(info.path)!r}",
            )
        return wanted
    fitting = [name for name in ENGINES.names() if needed <= ENGINES.get(name).loads]
    if not fitting:
        raise ConfigError(
            "engine-mismatch",
            f"no engine loads {' with '.join(sorted(needed))}: {str(info.path)!r}",
        )
    able = [name for name in fitting if ENGINES.get(name).is_available().ok]
    return able[0] if able else fitting[0]


def _check_available(engine: str) -> None:
    found = ENGINES.get(engine).is_available()
    if not found.ok:
        raise MissingDependency(
            "engine-unavailable",
            f"the engine {engine!r} cannot work here: {found.reason}",
            hint=found.hint,
        )


class LocalModel(Backend):
    """A local model that starts at its first use and again if its program has died.

    Usable from several loops and threads; starting happens once, under a lock, off the loop.
    `close` stops the program; a later request would start it again.
    """

    def __init__(self, engine: str, order: Order, home: Home) -> None:
        self.engine_name = engine
        self.order = order
        self._home = home
        self._http = Http() if ENGINES.get(engine).keepalive else Http(keepalive_s=0)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._backend: Backend | None = None
        self.endpoint: Endpoint | None = None
        self.starts = 0

    def start(self) -> Backend:
        """Start the program unless it runs; return what speaks to it. Blocks."""
        with self._lock:
            if self._engine is not None and self._engine.is_alive() and self._backend is not None:
                return self._backend
            if self._engine is not None:
                self._engine.stop()
            engine = ENGINES.create(self.engine_name)
            folder = self._home.ensure().state / "engines" / uuid.uuid4().hex[:12]
            endpoint = engine.start(self.order, folder)
            remote = Remote(endpoint.url, token=endpoint.token, http=self._http, waits=_WAITS)
            self._engine, self.endpoint = engine, endpoint
            self._backend = Filled(remote, engine.lacks) if engine.lacks else remote
            self.starts += 1
            return self._backend

    async def _ready(self) -> Backend:
        engine, backend = self._engine, self._backend
        if engine is not None and backend is not None and engine.is_alive():
            return backend
        return await asyncio.to_thread(self.start)

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        return await (await self._ready()).generate(request, deadline)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        chunks = (await self._ready()).stream(request, deadline)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await close_stream(chunks)

    async def batch(
        self, requests: Sequence[GenerateRequest], deadline: float | None = None
    ) -> list[Reply]:
        """Answer many requests, in order."""
        return await (await self._ready()).batch(requests, deadline)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        return await (await self._ready()).embed(request, deadline)

    async def models(self) -> list[ModelCard]:
        """Name the one model, without starting it."""
        return [ModelCard(id=self.order.name, capabilities=("chat", "completion", "embedding"))]

    async def close(self) -> None:
        """Close the connections and stop the program."""
        await self._http.close()
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """Stop the program; safe to call twice."""
        with self._lock:
            engine, self._engine, self._backend = self._engine, None, None
        if engine is not None:
            engine.stop()
