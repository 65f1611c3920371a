"""Any Backend as raw ASGI: path → dialect → Backend → bytes; the hot path.

Knows nothing about engines, vendors or the web framework beside it. Try it with the echo Backend:
`App(Echo(), Settings())` under any ASGI server.
"""

import asyncio
import math
import sys
import time
import traceback
import uuid

import msgspec

from stead.core.errors import BackendError, BackendTimeout, SteadError
from stead.inference.backend import Backend
from stead.inference.fan import merge_replies, merge_streams
from stead.messages import ModelCard
from stead.serving import guard
from stead.serving.admit import Admit
from stead.serving.settings import Settings
from stead.serving.stream import ASGIMessage, Departure, Receive, Relay, Send
from stead.wire import openai_errors
from stead.wire.dialect import (
    DIALECTS,
    Asked,
    CountDialect,
    Dialect,
    EmbedDialect,
    GenerateDialect,
    status_of,
)

_JSON = (b"content-type", b"application/json")
_SSE = (b"content-type", b"text/event-stream; charset=utf-8")
_MODELS = "/v1/models"
_CHOICES_LIMIT = 256  # prompts × n of one request
_GRACE_S = 5.0  # a slow reader may take this much longer than the deadline


class _Exchange:
    """One request's id and its two channels."""

    __slots__ = ("id", "receive", "send")

    def __init__(self, receive: Receive, send: Send) -> None:
        self.id = uuid.uuid4().hex
        self.receive = receive
        self.send = send

    def headers(self, kind: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """Return the headers that every answer has."""
        return [kind, (b"x-request-id", self.id.encode())]

    async def reply(
        self, body: bytes, status: int = 200, more: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        """Send a whole answer."""
        headers = [*self.headers(_JSON), (b"content-length", str(len(body)).encode())]
        if more is not None:
            headers += more
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def translate(self, error: Exception) -> SteadError:
        """Return what the client is told; a fault of ours by the request's id only."""
        if isinstance(error, SteadError):
            return error
        if isinstance(error, TimeoutError):
            return BackendTimeout("deadline", "the deadline of the request has passed")
        trace = "".join(traceback.format_exception(error))
        sys.stderr.write(f"request {self.id} failed\n{trace}")
        return SteadError("internal", f"internal error; request {self.id}")


class App:
    """The server of one Backend. Bounded in everything: bodies, queue, time.

    On the ASGI server's shutdown the Backend is closed.
    """

    def __init__(
        self, backend: Backend, settings: Settings, dialects: tuple[str, ...] = ()
    ) -> None:
        self._backend = backend
        self._settings = settings
        names = dialects if dialects else tuple(DIALECTS.names())
        made = [DIALECTS.create(name) for name in names]
        self._dialects: dict[str, Dialect] = {d.path: d for d in made}
        self._admit = Admit(settings.concurrency, settings.queue, settings.queue_wait_s)

    async def __call__(self, scope: ASGIMessage, receive: Receive, send: Send) -> None:
        """Answer one connection event of ASGI."""
        if scope["type"] == "http":
            await self._http(scope, _Exchange(receive, send))
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._backend.close()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})

    async def _http(self, scope: ASGIMessage, exchange: _Exchange) -> None:
        dialect = self._dialects.get(scope["path"])
        try:
            await self._route(scope, exchange, dialect)
        except ConnectionError:
            return  # the client has gone while its body was read
        except Exception as error:  # house: broad-except - the edge: every fault gets an answer
            await self._refuse(exchange, dialect, exchange.translate(error))

    async def _route(
        self, scope: ASGIMessage, exchange: _Exchange, dialect: Dialect | None
    ) -> None:
        head = guard.Head(scope["headers"])
        guard.check_host(head, self._settings)
        guard.check_origin(head)
        path, method = scope["path"], scope["method"]
        if path == "/health":
            _check_method(method, "GET")
            await exchange.reply(b'{"status":"ok"}')
            return
        guard.check_key(head, self._settings)
        if dialect is not None:
            _check_method(method, "POST")
            guard.check_body_head(head, self._settings)
            body = await self._read(exchange.receive)
            async with Departure(exchange.receive):
                async with asyncio.timeout(self._settings.deadline_s + _GRACE_S):
                    await self._answer(dialect, body, exchange)
        elif path == _MODELS or path.startswith(_MODELS + "/"):
            _check_method(method, "GET")
            await exchange.reply(await self._cards(path[len(_MODELS) + 1 :]))
        else:
            raise guard.refused(404, "unknown-route", f"there is no route {path[:200]!r}")

    async def _read(self, receive: Receive) -> bytes:
        """Return the whole body. Raises: RequestRefused 413 or 408; ConnectionError when it ends."""
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            self._check_size(len(body))
            return body
        try:
            async with asyncio.timeout(self._settings.body_wait_s):
                return await self._read_parts(message, receive)
        except TimeoutError as error:
            raise guard.refused(408, "body-timeout", "the body took too long") from error

    async def _read_parts(self, message: ASGIMessage, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while message["type"] == "http.request":
            part = message.get("body", b"")
            size += len(part)
            self._check_size(size)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await receive()
        raise ConnectionError("the client left")

    def _check_size(self, size: int) -> None:
        if size > self._settings.body_limit_bytes:
            raise guard.too_large(self._settings.body_limit_bytes)

    async def _answer(self, dialect: Dialect, body: bytes, exchange: _Exchange) -> None:
        asked = dialect.read_request(body)
        deadline = time.monotonic() + self._settings.deadline_s
        async with self._admit:
            if isinstance(dialect, EmbedDialect):
                await self._embed(dialect, asked, exchange, deadline)
            elif isinstance(dialect, CountDialect):
                tokens = await self._backend.count(asked.generate[0], deadline)
                await exchange.reply(dialect.write_count(tokens))
            elif isinstance(dialect, GenerateDialect):
                _check_choices(asked)
                if asked.stream:
                    await self._stream(dialect, asked, exchange, deadline)
                else:
                    await self._generate(dialect, asked, exchange, deadline)

    async def _generate(
        self, dialect: GenerateDialect, asked: Asked, exchange: _Exchange, deadline: float
    ) -> None:
        if len(asked.generate) == 1:
            reply = await self._backend.generate(asked.generate[0], deadline)
        else:
            replies = await self._backend.batch(asked.generate, deadline)
            reply = merge_replies(replies, same_prompt=False)
        await exchange.reply(dialect.write_reply(reply, asked))

    async def _stream(
        self, dialect: GenerateDialect, asked: Asked, exchange: _Exchange, deadline: float
    ) -> None:
        n = asked.generate[0].sampling.n
        streams = [self._backend.stream(r, deadline) for r in asked.generate]
        chunks = streams[0]
        if len(streams) > 1:
            chunks = merge_streams(streams, choices=n, same_prompt=False)
        relay = Relay(
            chunks,
            dialect.stream_writer(asked),
            exchange.send,
            exchange.headers(_SSE),
            choices=n * len(streams),
        )
        try:
            await relay.run(self._settings.first_event_s)
        except Exception as error:  # house: broad-except - after the headers only an event can tell
            if not relay.begun:
                raise
            await relay.fail(exchange.translate(error))

    async def _embed(
        self, dialect: EmbedDialect, asked: Asked, exchange: _Exchange, deadline: float
    ) -> None:
        if asked.embed is not None:
            reply = await self._backend.embed(asked.embed, deadline)
            await exchange.reply(dialect.write_vectors(reply, asked))

    async def _cards(self, name: str) -> bytes:
        cards = await self._backend.models()
        if not name:
            return msgspec.json.encode({"object": "list", "data": [_card(c) for c in cards]})
        for card in cards:
            if card.id == name:
                return msgspec.json.encode(_card(card))
        raise guard.refused(
            404, "model-not-found", f"the model {name[:200]!r} is not served here", param="model"
        )

    async def _refuse(
        self, exchange: _Exchange, dialect: Dialect | None, error: SteadError
    ) -> None:
        """Answer with an error, in the dialect of the route."""
        write = openai_errors.write_error if dialect is None else dialect.write_error
        status = status_of(error)
        await exchange.reply(write(error), status, _error_headers(error, status))


def _error_headers(error: SteadError, status: int) -> list[tuple[bytes, bytes]]:
    """Return what an error says in headers: when to come back, that retrying is done, what is allowed."""
    headers: list[tuple[bytes, bytes]] = []
    wait_s = error.details.get("retry_after_s")
    if wait_s is not None:
        headers.append((b"retry-after", str(math.ceil(float(wait_s))).encode()))
    elif isinstance(error, BackendError) and status >= 500:
        headers.append((b"x-should-retry", b"false"))  # clients retry by themselves otherwise
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if "allow" in error.details:
        headers.append((b"allow", str(error.details["allow"]).encode()))
    return headers


def _check_method(given: str, allowed: str) -> None:
    if given != allowed:
        raise guard.refused(
            405, "method-not-allowed", f"{given[:20]} is not {allowed}", allow=allowed
        )


def _check_choices(asked: Asked) -> None:
    count = len(asked.generate) * asked.generate[0].sampling.n
    if count > _CHOICES_LIMIT:
        raise guard.refused(
            400, "too-many-choices", f"{count} answers in one request; {_CHOICES_LIMIT} at most",
            param="n",
        )  # fmt: skip


def _card(card: ModelCard) -> dict[str, str | int]:
    return {"id": card.id, "object": "model", "created": card.created, "owned_by": card.owned_by}
