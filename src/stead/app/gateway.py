"""`stead.Gateway`: one way to ask any model from Python, async and sync.

Knows nothing about protocols or engines; it composes them. Making one is cheap: engines start and
connections open at the first request.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from pydantic import BaseModel

from stead.app import strategies, structured, tools
from stead.app.asking import Prompt, prompts_of, request, texts_of
from stead.app.budgets import metered
from stead.app.engines import LocalModel, Wanted, choose
from stead.app.plugins import Plugins
from stead.app.strategy_library import environment_of
from stead.app.syncing import SyncGateway
from stead.app.tracking import Active, Stats, Tracked
from stead.core.closing import AsyncClosing
from stead.core.errors import ConfigError, SteadError
from stead.core.paths import Home
from stead.inference.backend import Backend, close_stream
from stead.inference.remote import Remote
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, ModelCard, Reply

M = TypeVar("M", bound=BaseModel)
_DEADLINE_S = 600.0
_LOG = logging.getLogger("stead.gateway")


class Gateway(AsyncClosing):
    """Ask a local model (`model`: folder, GGUF, adapter, run or name), a strategy, or a server (`url`).

    `strategy` is a name, a use case or a file; with it, `model` may name one of its models. With `url`,
    `model` is the name the server knows; without it the server must serve exactly one.
    Text prompts are chats of one user message, unless `raw` is true: then they are completed.

        async with Gateway("model.gguf") as g:
            reply = await g.generate("Hello", max_tokens=20)

    `sync` has the same methods for code without a loop, and for code inside a running one.
    """

    def __init__(  # noqa: PLR0913 - a notebook's door takes plain options, not objects
        self,
        model: str | None = None,
        *,
        strategy: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        adapter: str | None = None,
        engine: str = "auto",
        context: int | None = None,
        parallel: int = 4,
        threads: int | None = None,
        home: Home | None = None,
        backend: Backend | None = None,
        timeout_s: float = _DEADLINE_S,
    ) -> None:
        if sum(x is not None for x in (strategy, url, backend)) > 1:
            raise ConfigError("several-ways", "give one of strategy, url and backend")
        if all(x is None for x in (model, strategy, url, backend)):
            raise ConfigError("no-model", "a Gateway needs a model, a strategy, a url or a backend")
        self._home = Home.find() if home is None else home
        self._wanted = Wanted(model or "", adapter, engine, None, context, parallel, threads)
        self._model = model
        self._strategy = strategy
        self._url = url
        self._api_key = api_key
        self._backend = backend
        self._is_ours = backend is None and url is None  # composed here, anew after a close
        self._local: LocalModel | None = None
        self._tracked: Tracked | None = None
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self.sync = SyncGateway(self)

    @overload
    async def generate(
        self,
        prompt: Prompt,
        *,
        output: type[M],
        **options: Any,  # Any: as below
    ) -> M: ...
    @overload
    async def generate(self, prompt: Prompt, **options: Any) -> Reply: ...
    async def generate(
        self,
        prompt: Prompt,
        *,
        system: str | None = None,
        raw: bool = False,
        output: type[BaseModel] | None = None,
        max_rounds: int = tools.ROUNDS,
        **options: Any,  # Any: the fields of `Sampling`, of GenerateRequest, and `tags`
    ) -> Any:
        """Answer a prompt or a conversation whole: a text, or messages, as `stead.Message` or OpenAI's dictionaries.

        `tools` may be Python functions: they are called as the model asks, at most `max_rounds` times,
        and their results told, until it answers. With `output`, a pydantic model, its instance is
        returned. Raises: BackendError("too-many-rounds", "bad-output") and what the Backend raises.
        """
        functions, options = _functions(options)
        backend, asked = await self._ask(prompt, system, raw, options)
        ask = _asker(backend, self._deadline(), functions, max_rounds)
        return await (ask(asked) if output is None else structured.ask_for(ask, asked, output))

    async def stream(
        self,
        prompt: Prompt,
        *,
        system: str | None = None,
        raw: bool = False,
        max_rounds: int = tools.ROUNDS,
        **options: Any,  # Any: as for `generate`
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece: `async for chunk in g.stream("…")`; the texts joined are the answer.

        Python functions in `tools` are called as in `generate`; the pieces tell the calls too.
        """
        functions, options = _functions(options)
        backend, asked = await self._ask(prompt, system, raw, options)
        deadline = self._deadline()
        chunks = (
            tools.stream_loop(lambda r: backend.stream(r, deadline), asked, functions, max_rounds)
            if functions
            else backend.stream(asked, deadline)
        )
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await close_stream(chunks)

    async def batch(
        self,
        prompts: Sequence[Prompt],
        *,
        system: str | None = None,
        raw: bool = False,
        errors: Literal["raise", "return"] = "raise",
        parallel: int = 8,
        **options: Any,
    ) -> list[Any]:
        """Answer many prompts, in order. Python functions in `tools` are called as in `generate`.

        With `errors="return"` a failed prompt's place holds its SteadError and the others are answered,
        at most `parallel` at once; otherwise the first failure is raised.
        """
        functions, options = _functions(options)
        asked = [await self._ask(p, system, raw, options) for p in prompts_of(prompts)]
        if not asked:
            return []
        backend, deadline = asked[0][0], self._deadline()
        if errors == "raise" and not functions:
            return list(await backend.batch([request for _, request in asked], deadline))
        ask = _asker(backend, deadline, functions)
        gate = asyncio.Semaphore(parallel)

        async def one(request: GenerateRequest) -> Reply | SteadError:
            async with gate:
                try:
                    return await ask(request)
                except SteadError as error:
                    if errors == "raise":
                        raise
                    return error

        return list(await asyncio.gather(*(one(request) for _, request in asked)))

    async def embed(self, texts: str | Sequence[str]) -> EmbedReply:
        """Turn texts into vectors; a plain text is one."""
        backend, model = await self._open()
        return await backend.embed(
            EmbedRequest(model=model, input=texts_of(texts)), self._deadline()
        )

    async def models(self) -> list[ModelCard]:
        """List what can be asked for."""
        backend, _ = await self._open(needs_model=False)
        return await backend.models()

    async def load(self) -> None:
        """Start the engine before the first request."""
        await self._open()
        if self._local is not None:
            await asyncio.to_thread(self._local.start)

    def stats(self) -> Stats:
        """Return requests, tokens, picodollars and seconds since the start, per model and in all."""
        if self._tracked is None:
            return Stats()
        local = self._local
        running = local is not None and local.endpoint is not None
        return self._tracked.stats([local.order.name] if local is not None and running else [])

    def active(self) -> list[Active]:
        """Return the requests at work: id, model, start and state."""
        return [] if self._tracked is None else self._tracked.active()

    async def close(self) -> None:
        """Close connections and stop the engine; the next request would start it again."""
        if self._tracked is not None:
            await self._tracked.close()
        if self._is_ours:
            self._backend = None  # its books are closed

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout_s

    async def _ask(
        self,
        prompt: Prompt,
        system: str | None,
        raw: bool,
        fields: dict[str, Any],
    ) -> tuple[Tracked, GenerateRequest]:
        backend, model = await self._open()
        return backend, request(model, prompt, system, fields, raw=raw)

    async def _open(self, *, needs_model: bool = True) -> tuple[Tracked, str]:
        """Return the Backend and the model's name there; made at the first call."""
        if self._tracked is None or self._backend is None:
            await asyncio.to_thread(self._make)
        backend = self._tracked
        assert backend is not None  # noqa: S101 - just made
        if self._model is None and needs_model:
            cards = await backend.models()
            if len(cards) != 1:
                names = ", ".join(c.id for c in cards)
                raise ConfigError("which-model", f"several models are served; name one of: {names}")
            self._model = cards[0].id
        name = self._model if self._local is None else self._local.order.name
        return backend, name or ""

    def _make(self) -> None:
        with self._lock:
            if self._backend is None:
                self._backend = self._made()
            if self._tracked is None:
                self._tracked = Tracked(self._backend)
            self._tracked.inner = self._backend

    def _made(self) -> Backend:
        if self._url is not None:
            return Remote(self._url, token=self._api_key)
        plugins = Plugins(self._home)
        for note in plugins.load():
            _LOG.warning(note)
        if self._strategy is not None:
            around = strategies.Around(environment_of(self._home), hooks=plugins.around)
            made, found = strategies.open(self._strategy, self._home, around)
            if self._model is None:
                self._model = found.name
            return made
        engine, order = choose(self._wanted, self._home)
        self._local = LocalModel(engine, order, self._home)
        return metered(self._local, self._home, plugins.around)


def _functions(
    options: dict[str, Any],  # Any: as `generate` takes them
) -> tuple[dict[str, tools.Tool], dict[str, Any]]:
    """Return the Python functions among the tools, and the options without them."""
    functions = tools.functions_in(options.get("tools", ()))
    return functions, {k: v for k, v in options.items() if not functions or k != "tools"}


def _asker(
    backend: Backend,
    deadline: float,
    functions: dict[str, tools.Tool],
    max_rounds: int = tools.ROUNDS,
) -> tools.Ask:
    """Return what answers a request whole, calling functions on the way."""

    async def once(request: GenerateRequest) -> Reply:
        return await backend.generate(request, deadline)

    async def with_tools(request: GenerateRequest) -> Reply:
        return await tools.loop(once, request, functions, max_rounds)

    return with_tools if functions else once
