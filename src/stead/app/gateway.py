"""`stead.Gateway`: one way to ask any model from Python, async and sync.

Knows nothing about protocols or engines; it composes them. Making one is cheap: engines start and
connections open at the first request.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from stead.app.engines import LocalModel, Wanted, choose
from stead.core.errors import ConfigError
from stead.core.paths import Home
from stead.inference.backend import Backend, close_stream
from stead.inference.remote import Remote
from stead.messages import (
    Chunk,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    Message,
    ModelCard,
    Reply,
    Sampling,
)

T = TypeVar("T")
Prompt = str | Sequence[Message]
_DEADLINE_S = 600.0


class Gateway:
    """Ask a local model (`model`: folder, GGUF, adapter, run or name) or a server (`url`).

    With `url`, `model` is the name the server knows; without it the server must serve exactly one.
    Text prompts are chats of one user message, unless `raw` is true: then they are completed.

        async with Gateway("model.gguf") as g:
            reply = await g.generate("Hello", max_tokens=20)

    `sync` has the same methods for code without a loop, and for code inside a running one.
    """

    def __init__(  # noqa: PLR0913 - a notebook's door takes plain options, not objects
        self,
        model: str | None = None,
        *,
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
        if sum(x is not None for x in (url, backend)) > 1 or (
            model is None and url is None and backend is None
        ):
            raise ConfigError("no-model", "a Gateway needs a model, a url or a backend")
        self._home = Home.find() if home is None else home
        self._wanted = Wanted(model or "", adapter, engine, None, context, parallel, threads)
        self._model = model
        self._url = url
        self._api_key = api_key
        self._backend = backend
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self.sync = SyncGateway(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def generate(
        self,
        prompt: Prompt,
        *,
        system: str | None = None,
        raw: bool = False,
        **sampling: Any,  # Any: the fields of `Sampling`, and of GenerateRequest such as `tools`
    ) -> Reply:
        """Answer a prompt or a conversation whole."""
        backend, request = await self._ask(prompt, system, raw, sampling)
        return await backend.generate(request, self._deadline())

    async def stream(
        self, prompt: Prompt, *, system: str | None = None, raw: bool = False, **sampling: Any
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece: `async for chunk in g.stream("…")`; the texts joined are the answer."""
        backend, request = await self._ask(prompt, system, raw, sampling)
        chunks = backend.stream(request, self._deadline())
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
        **sampling: Any,
    ) -> list[Reply]:
        """Answer many prompts, in order."""
        asked = [await self._ask(p, system, raw, sampling) for p in prompts]
        if not asked:
            return []
        return await asked[0][0].batch([request for _, request in asked], self._deadline())

    async def embed(self, texts: Sequence[str]) -> EmbedReply:
        """Turn texts into vectors."""
        backend, model = await self._open()
        return await backend.embed(EmbedRequest(model=model, input=tuple(texts)), self._deadline())

    async def models(self) -> list[ModelCard]:
        """List what can be asked for."""
        backend, _ = await self._open(needs_model=False)
        return await backend.models()

    async def load(self) -> None:
        """Start the engine before the first request."""
        backend, _ = await self._open()
        if isinstance(backend, LocalModel):
            await asyncio.to_thread(backend.start)

    async def close(self) -> None:
        """Close connections and stop the engine; the next request would start it again."""
        if self._backend is not None:
            await self._backend.close()

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout_s

    async def _ask(
        self,
        prompt: Prompt,
        system: str | None,
        raw: bool,
        fields: dict[str, Any],
    ) -> tuple[Backend, GenerateRequest]:
        backend, model = await self._open()
        return backend, _request(model, prompt, system, fields, raw=raw)

    async def _open(self, *, needs_model: bool = True) -> tuple[Backend, str]:
        """Return the Backend and the model's name there; made at the first call."""
        if self._backend is None:
            await asyncio.to_thread(self._make)
        backend = self._backend
        assert backend is not None  # noqa: S101 - just made
        if self._model is None and needs_model:
            cards = await backend.models()
            if len(cards) != 1:
                names = ", ".join(c.id for c in cards)
                raise ConfigError("which-model", f"several models are served; name one of: {names}")
            self._model = cards[0].id
        name = backend.order.name if isinstance(backend, LocalModel) else self._model
        return backend, name or ""

    def _make(self) -> None:
        with self._lock:
            if self._backend is None:
                self._backend = self._made()

    def _made(self) -> Backend:
        if self._url is not None:
            return Remote(self._url, token=self._api_key)
        engine, order = choose(self._wanted, self._home)
        return LocalModel(engine, order, self._home)


_SAMPLING_FIELDS = frozenset(Sampling.__struct_fields__)
_REQUEST_FIELDS = frozenset({"tools", "tool_choice", "response_format", "echo", "user", "extra"})


def _request(
    model: str, prompt: Prompt, system: str | None, fields: dict[str, Any], *, raw: bool
) -> GenerateRequest:
    unknown = sorted(fields.keys() - _SAMPLING_FIELDS - _REQUEST_FIELDS)
    if unknown:
        known = ", ".join(sorted(_SAMPLING_FIELDS | _REQUEST_FIELDS))
        raise ConfigError("unknown-option", f"{unknown[0]!r} is no option (known: {known})")
    sampling = Sampling(**{k: _frozen(v) for k, v in fields.items() if k in _SAMPLING_FIELDS})
    rest = {k: _frozen(v) for k, v in fields.items() if k in _REQUEST_FIELDS}
    if raw:
        if not isinstance(prompt, str) or system is not None:
            raise ConfigError("raw-chat", "a raw prompt is one text, without a system message")
        return GenerateRequest(model=model, prompt=prompt, sampling=sampling, **rest)
    messages = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
    if system is not None:
        messages = (Message("system", system), *messages)
    return GenerateRequest(model=model, messages=messages, sampling=sampling, **rest)


def _frozen(value: Any) -> Any:  # Any: option values; lists become the tuples of our structs
    return tuple(value) if isinstance(value, list) else value


class _Loop:
    """One background event loop for every sync face, started at the first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and return its result; Ctrl-C cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="stead-sync", daemon=True
                ).start()
            return self._loop


_LOOP = _Loop()


class SyncGateway:
    """The methods of `Gateway` for code that does not await; works inside a running loop too."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def generate(self, prompt: Prompt, **options: Any) -> Reply:
        """Answer a prompt or a conversation whole."""
        return _LOOP.run(self._gateway.generate(prompt, **options))

    def stream(self, prompt: Prompt, **options: Any) -> Iterator[Chunk]:
        """Answer piece by piece; closing the iterator cancels the work."""
        chunks = self._gateway.stream(prompt, **options)
        try:
            while (chunk := _LOOP.run(_next(chunks))) is not None:
                yield chunk
        finally:
            _LOOP.run(close_stream(chunks))

    def batch(self, prompts: Sequence[Prompt], **options: Any) -> list[Reply]:
        """Answer many prompts, in order."""
        return _LOOP.run(self._gateway.batch(prompts, **options))

    def embed(self, texts: Sequence[str]) -> EmbedReply:
        """Turn texts into vectors."""
        return _LOOP.run(self._gateway.embed(texts))

    def models(self) -> list[ModelCard]:
        """List what can be asked for."""
        return _LOOP.run(self._gateway.models())

    def load(self) -> None:
        """Start the engine before the first request."""
        _LOOP.run(self._gateway.load())

    def close(self) -> None:
        """Close connections and stop the engine."""
        _LOOP.run(self._gateway.close())


async def _next(chunks: AsyncIterator[Chunk]) -> Chunk | None:
    return await anext(chunks, None)
