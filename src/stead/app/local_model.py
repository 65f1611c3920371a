"""A local model as a Backend: its engine starts at the first request, and again if it died.

Knows nothing about which engine is right (`choosing`) or about other models (`engines`).
"""

import asyncio
import threading
import uuid
from pathlib import Path

from stead.app.started import Started
from stead.core.http import Http, Waits
from stead.core.paths import Home
from stead.engines.engine import ENGINES, Engine, Order
from stead.hub.adapter_folders import adapter_folders
from stead.inference.backend import Backend
from stead.inference.fill import Filled
from stead.inference.lacking import Lacking
from stead.inference.remote import OPENAI, Remote
from stead.inference.route import ByName
from stead.messages import ModelCard
from stead.values import Endpoint

# Reading a long prompt on a slow machine comes before the first token; only the deadline ends it.
_WAITS = Waits(first_s=None, between_s=120.0)

ABLE = ("chat", "completion", "embedding")  # what every model can do that our own engines load
_DIALECTS = (*OPENAI, "anthropic_count")  # the one protocol of local engines that counts tokens


def able_by(engine: str) -> tuple[str, ...]:
    """Return what every model of an engine can do; nothing where that depends on the model."""
    return () if ENGINES.get(engine).sees else ABLE


class LocalModel(Started):
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
            remote = Remote(
                endpoint.url,
                token=endpoint.token,
                dialects=_DIALECTS,
                http=self._http,
                waits=_WAITS,
            )
            self._engine, self.endpoint = engine, endpoint
            self._backend = self._around(engine, remote, endpoint)
            self.starts += 1
            return self._backend

    def _around(self, engine: Engine, remote: Backend, endpoint: Endpoint) -> Backend:
        """Add what the engine lacks, and its own name for the model where that is another one."""
        backend = Filled(remote, engine.lacks) if engine.lacks else remote
        if engine.drops or engine.ignores or engine.estimates_usage:
            backend = Lacking(
                backend, engine.drops, ignores=engine.ignores, estimated=engine.estimates_usage
            )
        name = self.order.name
        return backend if endpoint.model == name else ByName({name: (backend, endpoint.model)})

    def is_running(self) -> bool:
        """Say whether the program runs now."""
        engine = self._engine
        return engine is not None and engine.is_alive()

    def memory_bytes(self) -> int | None:
        """Return what the program takes now; None when it does not run or nobody can say."""
        engine = self._engine
        return None if engine is None else engine.memory_bytes()

    def running(self) -> Backend | None:
        """Return what speaks to the program while it lives."""
        return self._backend if self.is_running() else None

    async def models(self) -> list[ModelCard]:
        """Name the one model, and its adapters as `name:adapter`, without starting it."""
        order, able = self.order, able_by(self.engine_name)
        folders = [Path(place) for place in order.adapters]
        adapters = await asyncio.to_thread(adapter_folders, folders) if folders else {}
        names = [order.name, *(f"{order.name}:{each}" for each in sorted(adapters))]
        return [ModelCard(id=name, capabilities=able) for name in names]

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
