"""The model programs of a strategy as Backends: found running, or started and fetched at the first request.

Knows nothing about routing. What cannot work here is a Backend that says why.
"""

import asyncio
import threading
import uuid

from msgspec.structs import replace

from stead.app.engines import LocalModel, Wanted, choose
from stead.app.started import Started
from stead.config.components import LocalConfig
from stead.config.endpoints import EndpointSpec
from stead.core.address import place_of
from stead.core.errors import MissingDependency, UsageError
from stead.core.paths import Home
from stead.engines.engine import ENGINES, Engine, Order
from stead.engines.kinds.ollama import fetched, listens
from stead.engines.ollama_api import OllamaApi
from stead.inference.backend import Backend
from stead.inference.endpoint import Absent, option
from stead.inference.vendors import vendor
from stead.messages import ModelCard

_ENGINES = {"llamacpp": "llama_cpp"}  # a strategy's word → ours
_OLLAMA_URL = "http://127.0.0.1:11434"


def program(spec: EndpointSpec, home: Home) -> Backend:
    """Return the Backend of a model program; nothing is started."""
    config = spec.config
    assert isinstance(config, LocalConfig)  # noqa: S101 - only programs come here
    if spec.kind == "ollama":
        return OllamaProgram(spec.model, config, home)
    wanted = Wanted(
        spec.model,
        engine=_ENGINES.get(spec.kind, spec.kind),
        name=spec.model,
        context=config.context_size,
        threads=option(config, "threads"),
    )
    try:
        engine, order = choose(wanted, home)
    except (MissingDependency, UsageError) as error:
        return Absent(spec.name, error.message)
    if not config.auto_start:
        return Absent(spec.name, "auto_start is off, and no base_url says where it runs")
    return LocalModel(engine, replace(order, gpu_layers=config.gpu_layers), home)


class OllamaProgram(Started):
    """A model of Ollama: of the server that runs, else of one that is started where that is allowed.

    Usable from several loops and threads: starting and fetching happen once, under a lock, off the loop.
    """

    def __init__(self, model: str, config: LocalConfig, home: Home) -> None:
        self._model = model
        self._config = config
        self._home = home
        self._url = _OLLAMA_URL if config.base_url is None else config.base_url
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._backend: Backend | None = None

    @property
    def order(self) -> Order:
        """What the engine is told when the server is started here."""
        pulls = any(m.pull_on_start for m in self._config.models if m.name == self._model)
        return Order(model=self._model, name=self._model, pull=pulls)

    def start(self) -> Backend:
        """Find or start the server, fetch the model if that is wanted. Blocks."""
        with self._lock:
            found = self.running()
            if found is None:
                found = self._backend = vendor("ollama", base_url=self._found())
            return found

    def _found(self) -> str:
        """Return the address of a server that has the model, as far as that can be arranged."""
        if listens(self._url):
            if self.order.pull:
                asyncio.run(_fetch(self._url, self._model))
            return self._url
        may_start = self._config.auto_start and place_of(self._url) == "local"
        started = self._start_server() if may_start else None
        return self._url if started is None else started  # if nobody is there, the request says so

    def _start_server(self) -> str | None:
        """Start Ollama and return its address; None when it is not installed."""
        engine = ENGINES.create("ollama")
        folder = self._home.ensure().state / "engines" / uuid.uuid4().hex[:12]
        try:
            endpoint = engine.start(self.order, folder)
        except MissingDependency:
            return None
        self._engine = engine
        return endpoint.url

    def running(self) -> Backend | None:
        """Return what speaks to the server, unless it was ours and has died."""
        engine = self._engine
        return self._backend if engine is None or engine.is_alive() else None

    async def models(self) -> list[ModelCard]:
        """Name the one model, without asking."""
        return [ModelCard(id=self._model)]

    async def close(self) -> None:
        """Close the connections, and stop the server if it is ours."""
        backend, self._backend = self._backend, None
        if backend is not None:
            await backend.close()
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.stop)


async def _fetch(url: str, model: str) -> None:
    api = OllamaApi(url)
    try:
        await fetched(api, model)
    finally:
        await api.close()
