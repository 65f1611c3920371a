"""Many local models on demand: loaded at the first request, kept, evicted, never under a request.

Knows nothing about engines themselves (`local_model`) or where models are found (`shelf`).
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager

from stead.app.choosing import Choice, Wanted, choose, plan
from stead.app.keeping import Keeping, Loaded, State, no_room, too_large
from stead.app.local_model import ABLE, LocalModel, able_by
from stead.app.shelf import Shelf
from stead.core.errors import BackendTimeout, ProcessError, SteadError
from stead.core.paths import Home
from stead.engines.engine import ENGINES, Order
from stead.inference.backend import Backend, close_stream
from stead.inference.route import ByName
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, ModelCard, Reply

__all__ = ["Choice", "Engines", "Keeping", "LocalModel", "State", "Wanted", "choose", "plan"]

_LOG = logging.getLogger("stead.engines")
_SWEEP_S = 5.0  # longest time between two looks for unused models
Make = Callable[[Choice, Home], LocalModel]


def _make(choice: Choice, home: Home) -> LocalModel:
    return LocalModel(choice.engine, choice.order, home)


class Engines(Backend):
    """All local models behind one Backend, by name. Use it from one event loop.

    A model is loaded once however many ask for it at the same time, by whatever names, its adapters
    included where the engine can put them on per request. Room is made by unloading the
    model that was unused the longest; one with a request at work is never touched, and who finds no
    room waits, at most `keeping.wait_s` and the deadline. Bytes count until they are really free.
    `make`, `planned` and `clock` are what it is made of; a test passes its own.
    """

    def __init__(
        self,
        shelf: Shelf,
        home: Home,
        keeping: Keeping,
        *,
        make: Make = _make,
        planned: Callable[[Wanted, Home], Choice] = plan,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shelf = shelf
        self._home = home
        self._keeping = keeping
        self._make = make
        self._planned = planned
        self._clock = clock
        self._loaded: dict[tuple[str, Order], Loaded] = {}
        self._known: dict[str, Choice] = {}  # what a name meant when it was last asked for
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole. Raises: NotFound("model-not-found"); ResourceError; engine errors."""
        async with self._use(request.model, deadline) as backend:
            return await backend.generate(request, deadline)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""
        async with self._use(request.model, deadline) as backend:
            chunks = backend.stream(request, deadline)
            try:
                async for chunk in chunks:
                    yield chunk
            finally:
                await close_stream(chunks)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        async with self._use(request.model, deadline) as backend:
            return await backend.embed(request, deadline)

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a prompt."""
        async with self._use(request.model, deadline) as backend:
            return await backend.count(request, deadline)

    async def models(self) -> list[ModelCard]:
        """List what can be loaded, loading nothing."""
        names = await asyncio.to_thread(self._shelf.names)
        return [ModelCard(id=name, capabilities=self._able(name)) for name in names]

    def _able(self, name: str) -> tuple[str, ...]:
        known = self._known.get(name)
        if known is not None:
            return able_by(known.engine)
        store = name.partition(":")[0]  # in an engine's own store; all others are read by ours
        return next((able_by(e) for e in ENGINES.names() if ENGINES.get(e).prefix == store), ABLE)

    async def load(self, name: str, deadline: float | None = None) -> None:
        """Load a model, or count it as just used."""
        async with self._use(name, deadline):
            pass

    async def preload(self, names: Sequence[str]) -> dict[str, SteadError]:
        """Load models one after another; return what could not be loaded, and why."""
        failed: dict[str, SteadError] = {}
        for name in names:
            try:
                await self.load(name)
            except SteadError as error:
                failed[name] = error
        return failed

    def begin(self, names: Sequence[str]) -> None:
        """Begin to load models within the running loop; what cannot be loaded is logged."""
        if names:
            self._later(self._preloaded(names))

    async def _preloaded(self, names: Sequence[str]) -> None:
        for name, error in (await self.preload(names)).items():
            _LOG.warning("%s was not loaded: %s", name, error.message)

    async def unload(self, name: str, deadline: float | None = None) -> bool:
        """Unload a model once its requests are done; False when it was not loaded.

        `base:adapter` means the copy in memory, which is that of the base and of its other adapters.
        Raises: BackendTimeout("deadline"); NotFound("model-not-found").
        """
        copy = (await self._meant(name)).copy
        entry = self._loaded.get(copy)
        if entry is None:
            return False
        while self._loaded.get(copy) is entry:
            if entry.is_idle:
                self._stop(entry)
            await self._before(deadline, self._news.wait())
        return True

    def status(self) -> list[State]:
        """Return the loaded models, the latest used first."""
        entries = sorted(self._loaded.values(), key=lambda e: e.last_used, reverse=True)
        return [entry.state_at(self._clock()) for entry in entries]

    def sweep(self) -> None:
        """Begin to unload what was unused for `keeping.idle_s`."""
        idle_s = self._keeping.idle_s
        if idle_s is None:
            return
        for entry in list(self._loaded.values()):
            if entry.is_idle and self._clock() - entry.last_used >= idle_s:
                self._stop(entry)

    async def close(self) -> None:
        """Stop every engine; requests at work fail. Safe to call twice."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
        await asyncio.gather(*self._tasks, return_exceptions=True)
        entries, self._loaded = list(self._loaded.values()), {}
        await asyncio.gather(*(entry.local.close() for entry in entries))

    @asynccontextmanager
    async def _use(self, name: str, deadline: float | None) -> AsyncIterator[Backend]:
        entry, choice = await self._acquire(name, deadline)
        inner = entry.asked_for(choice)
        try:
            yield entry.local if inner == name else ByName({name: (entry.local, inner)})
        finally:
            entry.users -= 1
            entry.last_used = self._clock()
            self._tell()

    async def _acquire(self, name: str, deadline: float | None) -> tuple[Loaded, Choice]:
        """Return a loaded model with one user more, and what its name means."""
        until = self._clock() + self._keeping.wait_s
        choice = await self._meant(name)
        while True:
            entry = self._loaded.get(choice.copy)
            if entry is None and self._make_room(choice.bytes):
                self._begin(choice)
            elif entry is not None and entry.state == "ready":
                entry.users += 1
                entry.requests += 1
                self._known[name] = choice
                return entry, choice
            elif entry is not None and entry.state == "loading":
                await self._before(deadline, asyncio.shield(entry.ready))
            else:
                await self._room(name, deadline, until)

    async def _meant(self, name: str) -> Choice:
        """Return what a name means: what it meant before, as long as that is in memory."""
        known = self._known.get(name)
        if known is not None and known.copy in self._loaded:
            return known
        return await asyncio.to_thread(self._choice, name)

    def _choice(self, name: str) -> Choice:
        choice = self._planned(self._shelf.wanted(name), self._home)
        if choice.bytes > self._keeping.memory_bytes:
            raise too_large(name, choice.bytes, self._keeping.memory_bytes)
        return choice

    def _make_room(self, need: int) -> bool:
        """Say whether `need` bytes are free; if unloading idle models makes them so, begin that."""
        over = sum(e.bytes for e in self._loaded.values()) + need - self._keeping.memory_bytes
        if over <= 0:
            return True
        over -= sum(e.bytes for e in self._loaded.values() if e.state == "stopping")
        idle = sorted((e for e in self._loaded.values() if e.is_idle), key=lambda e: e.last_used)
        if over > sum(e.bytes for e in idle):
            return False  # not even all of them together: they stay, and we wait for the busy ones
        for entry in idle:
            if over > 0:
                over -= entry.bytes
                self._stop(entry)
        return False

    def _begin(self, choice: Choice) -> None:
        """Begin to load a model. What names mean is asked anew: there may be a better copy for some."""
        self._known.clear()
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ready.add_done_callback(lambda f: f.exception())  # nobody may be waiting any more
        local = self._make(choice, self._home)
        entry = Loaded(choice, local, ready, self._clock(), bytes=choice.bytes)
        self._loaded[choice.copy] = entry
        self._later(self._start(entry))
        if self._sweeper is None and self._keeping.idle_s is not None:
            self._sweeper = asyncio.create_task(self._sweep_often(self._keeping.idle_s))

    async def _start(self, entry: Loaded) -> None:
        error: SteadError = ProcessError("engine-died", f"{entry.name!r} was not loaded")
        try:
            await asyncio.to_thread(entry.local.start)
            measured = await asyncio.to_thread(entry.local.memory_bytes)
            if measured is not None:
                entry.bytes = measured
            entry.state, entry.last_used = "ready", self._clock()
            entry.ready.set_result(None)
            self._make_room(0)  # it may have turned out larger than planned
        except SteadError as raised:
            error = raised
        finally:
            if entry.state == "loading":
                del self._loaded[entry.choice.copy]
                entry.ready.set_exception(error)
            self._tell()

    def _stop(self, entry: Loaded) -> None:
        """Begin to stop an idle model; its bytes count until it has gone."""
        entry.state = "stopping"
        self._later(self._stopped(entry))

    async def _stopped(self, entry: Loaded) -> None:
        try:
            await entry.local.close()
        finally:
            if self._loaded.get(entry.choice.copy) is entry:
                del self._loaded[entry.choice.copy]
            self._tell()

    async def _sweep_often(self, idle_s: float) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_S, max(idle_s / 4, 0.01)))
            self.sweep()

    async def _room(self, name: str, deadline: float | None, until: float) -> None:
        """Wait for any change. Raises: ResourceError("engines-busy"), BackendTimeout("deadline")."""
        rest = until - self._clock()
        try:
            async with asyncio.timeout(max(rest, 0.0)):
                await self._before(deadline, self._news.wait())
        except TimeoutError as error:
            raise no_room(name, self._keeping.wait_s, self.status()) from error

    async def _before(self, deadline: float | None, work: Awaitable[object]) -> None:
        """Await something until the deadline. Raises: BackendTimeout("deadline")."""
        limit = asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic()))
        try:
            async with limit:
                await work
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise BackendTimeout("deadline", "the deadline passed before there was room") from error

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
