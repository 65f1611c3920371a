"""Ollama: models of its own store, by the server that runs already or one started here.

Knows nothing about its API's routes; `engines/ollama_api` does.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, TypeVar
from urllib.parse import urlsplit

from stead.core.errors import BackendError, MissingDependency, NotFound
from stead.engines.engine import Availability, Order
from stead.engines.ollama_api import OllamaApi
from stead.engines.program import HttpProgram, pass_through, settings
from stead.values import Endpoint

T = TypeVar("T")
_LOOK_S = 0.3


class Ollama(HttpProgram):
    """The engine for `ollama:name:tag`. Stopping unloads the model; a server of others stays up."""

    programs = ("ollama",)
    setting = "ollama"
    install = "curl -fsSL https://ollama.com/install.sh | sh"
    health = "/api/version"
    loads = frozenset({"ollama"})
    prefix = "ollama"
    sees = True
    lacks: ClassVar[frozenset[str]] = frozenset({"count"})

    def __init__(self) -> None:
        super().__init__()
        self._url: str | None = None
        self._model = ""

    @classmethod
    def is_available(cls) -> Availability:
        """Say whether a server answers, or may be started."""
        wanted = settings()
        if listens(wanted.ollama_url):
            return Availability(ok=True)
        if wanted.ollama_auto_start:
            found = super().is_available()
            why = f"nobody listens at {wanted.ollama_url}, and {found.reason}"
            return found if found.ok else Availability(ok=False, reason=why, hint=found.hint)
        return Availability(
            ok=False,
            reason=f"nobody listens at {wanted.ollama_url}, and engines.ollama_auto_start is off",
            hint="ollama serve",
        )

    def start(self, order: Order, folder: Path, *, timeout_s: float = 300.0) -> Endpoint:
        """Load the model. Raises: NotFound("ollama-unknown-model"), whose hint pulls it."""
        self.stop()
        url = settings().ollama_url
        if listens(url):
            endpoint = Endpoint(url, order.model)
        else:
            found = self.is_available()
            if not found.ok:
                raise MissingDependency("engine-unavailable", found.reason, hint=found.hint)
            endpoint = super().start(order, folder, timeout_s=timeout_s)
        self._url, self._model = endpoint.url, order.model
        try:
            if order.pull:
                self._do(lambda api: fetched(api, order.model))
            self._do(lambda api: api.show(order.model))
            self._do(lambda api: api.load(order.model))
        except BaseException:
            self._url = None
            super().stop()
            raise
        return Endpoint(endpoint.url, order.model, pid=endpoint.pid)

    def is_alive(self) -> bool:
        """Say whether our server runs; one of others is believed to."""
        return self._url is not None and (self._child is None or super().is_alive())

    def stop(self) -> None:
        """Unload the model, and end the server if it is ours."""
        url, self._url = self._url, None
        if url is not None and self._child is None:
            self._url = url
            with suppress(BackendError, NotFound):  # it has gone, or the model has
                self._do(lambda api: api.unload(self._model))
            self._url = None
        super().stop()

    def memory_bytes(self) -> int | None:
        """Return what Ollama says that the model takes."""
        try:
            return self._do(lambda api: api.loaded()).get(self._model)
        except BackendError:
            return None

    def arguments(self, order: Order, port: int) -> list[str]:
        """Return the words that start the server."""
        return ["serve"]

    def environment(self, order: Order, port: int, token: str) -> dict[str, str]:
        """Return the address, and the store's folder; Ollama knows no key, so loopback only."""
        return {
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_NUM_PARALLEL": str(order.parallel),
        } | pass_through("OLLAMA_MODELS")

    def _do(self, work: Callable[[OllamaApi], Awaitable[T]]) -> T:
        async def run() -> T:
            api = OllamaApi(self._url if self._url is not None else settings().ollama_url)
            try:
                return await work(api)
            finally:
                await api.close()

        return asyncio.run(run())


async def fetched(api: OllamaApi, model: str) -> None:
    """Pull a model unless the server has it."""
    if model not in {m.name for m in await api.stored()}:
        await api.pull(model)


def listens(url: str) -> bool:
    """Say whether somebody accepts connections at an address."""
    parts = urlsplit(url)
    if parts.hostname is None:
        return False
    port = parts.port if parts.port is not None else (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname, port), _LOOK_S):
            return True
    except OSError:
        return False
