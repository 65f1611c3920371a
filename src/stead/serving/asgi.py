"""Any Backend as raw ASGI: path → route → Backend → bytes; the edge of the hot path.

Knows nothing about engines, vendors or the web framework beside it. Try it with the echo Backend:
`App(Echo(), Settings())` under any ASGI server.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stead.core.metrics import Metrics
from stead.inference.backend import Backend
from stead.serving import guard
from stead.serving.access import Access, Keys, token_of
from stead.serving.admit import Admit
from stead.serving.answer import Answers, stopping, uncancel
from stead.serving.batch_run import BatchRuns
from stead.serving.batch_store import BatchStore
from stead.serving.batches import Batches
from stead.serving.cards import Cards
from stead.serving.exchange import LEFT, Exchange, Routes, no_route
from stead.serving.file_store import FileStore
from stead.serving.files import Files
from stead.serving.measure import Measured
from stead.serving.ollama_info import METHODS, OllamaInfo
from stead.serving.settings import Settings
from stead.serving.stream import ASGIMessage, Receive, Send
from stead.wire import ollama_shape
from stead.wire.dialect import DIALECTS, Dialect

_HERE, _PLAIN = b"stead is running", (b"content-type", b"text/plain; charset=utf-8")
_TAG = re.compile(r"[A-Za-z0-9._:/-]{1,64}")
_TAGS = 16
Watcher = Callable[[Exchange, float], None]


class App:
    """The server of one Backend. Bounded in everything: bodies, queue, time.

    `watchers` are told of every request when it is over, with its seconds; they must be quick and must
    not raise. `files` is the folder of uploads and batches; without it there are none.
    `groups` are further routes by the path they stand below. On the ASGI server's shutdown the Backend is closed.
    """

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        dialects: tuple[str, ...] = (),
        *,
        access: Access | None = None,
        watchers: Sequence[Watcher] = (),
        files: Path | None = None,
        metrics: Metrics | None = None,
        groups: Mapping[str, Routes] | None = None,
    ) -> None:
        self._backend = backend
        self._settings = settings
        names = dialects if dialects else tuple(DIALECTS.names())
        made = [d for d in map(DIALECTS.create, names) if d.serves]
        self._dialects: dict[str, Dialect] = {d.path: d for d in made}
        self._admit = Admit(settings.concurrency, settings.queue, settings.queue_wait_s)
        self._at_work: dict[Exchange, asyncio.Task[None] | None] = {}
        self.measured = Measured(
            Metrics() if metrics is None else metrics,
            active=lambda: len(self._at_work),
            waiting=lambda: self._admit.waiting,
        )
        self._groups: dict[str, Routes] = {
            "/v1/models": Cards(backend),
            "/metrics": self.measured,
            **dict.fromkeys(METHODS, OllamaInfo(backend, settings)),
            **({} if groups is None else groups),
        }
        self.answers = Answers(backend, settings, self._admit)
        self._access = Keys(settings.api_keys) if access is None else access
        self._watchers: tuple[Watcher, ...] = (self.measured, *watchers)
        self._batches = None if files is None else self._keep(files)
        self._draining = False

    async def __call__(self, scope: ASGIMessage, receive: Receive, send: Send) -> None:
        """Answer one connection event of ASGI."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._start()
            if message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})

    async def _start(self) -> None:
        if self._batches is not None:
            await self._batches.resume()

    async def close(self) -> None:
        """Close what was opened; safe to call twice."""
        if self._batches is not None:
            await self._batches.close()
        await self._backend.close()

    def _keep(self, folder: Path) -> BatchRuns:
        """Mount the routes that need a folder."""
        store = FileStore(folder)
        runs = BatchRuns(
            BatchStore(store), self.answers, self._access, self._settings, self._dialects
        )
        self._groups["/v1/files"] = Files(store, self._settings)
        self._groups["/v1/batches"] = Batches(runs, self._settings)
        return runs

    @property
    def active(self) -> list[Exchange]:
        """The requests that are not answered yet."""
        return list(self._at_work)

    def drain(self) -> None:
        """From now on refuse new requests with 503; those at work go on."""
        self._draining = True

    def cut(self) -> None:
        """End what is still at work: each client is told so by a status or an error event."""
        for exchange, task in list(self._at_work.items()):
            if task is not None and not exchange.stopped:
                exchange.stopped = True
                task.cancel()

    async def _http(self, scope: ASGIMessage, receive: Receive, send: Send) -> None:
        exchange = Exchange(
            scope["method"], scope["path"], scope.get("query_string", b""), receive, send
        )
        self._at_work[exchange] = asyncio.current_task()
        try:
            await self._route(scope, exchange)
        except ConnectionError:
            exchange.status = LEFT  # the client has gone while its body was read
        except asyncio.CancelledError:
            if not exchange.stopped or exchange.status:
                raise
            uncancel()
            await exchange.refuse(stopping())
        except Exception as error:  # house: broad-except - the edge: every fault gets an answer
            await exchange.refuse(exchange.translate(error))
        finally:
            del self._at_work[exchange]
            seconds = time.monotonic() - exchange.begun
            for watcher in self._watchers:
                watcher(exchange, seconds)

    async def _route(self, scope: ASGIMessage, exchange: Exchange) -> None:
        exchange.head = head = guard.Head(scope["headers"])
        guard.check_host(head, self._settings)
        guard.check_origin(head)
        if self._draining:
            exchange.closing = True
            raise stopping()
        path = exchange.path
        dialect = self._dialects.get(path)
        if dialect is not None:
            exchange.route, exchange.dialect = path, dialect
            exchange.caller = await self._access.check(token_of(head))
            exchange.allow("POST")
            exchange.tags = read_tags(head.tags)
            await self.answers.handle(dialect, exchange)
        elif path == "/health":
            exchange.route = path
            exchange.allow("GET")
            await exchange.reply(b'{"status":"ok"}')
        elif path == "/":
            exchange.route = path
            exchange.allow("GET", "HEAD")  # what Ollama's clients ask first
            await exchange.reply(_HERE, kind=_PLAIN)
        else:
            exchange.caller = await self._access.check(token_of(head))
            await self._group(exchange, path)

    async def _group(self, exchange: Exchange, path: str) -> None:
        for start, group in self._groups.items():
            if path == start or path.startswith(start + "/"):
                exchange.route = start
                await group.handle(exchange, path[len(start) + 1 :])
                return
        if path.startswith("/api/"):
            exchange.words = ollama_shape.write_error
        raise no_route(path)


def read_tags(value: bytes) -> frozenset[str]:
    """Return the tags of a request's `x-stead-tags`. Raises: RequestRefused 400."""
    if not value:
        return frozenset()
    tags = [t.strip() for t in value.decode("latin-1").split(",")]
    bad = [t for t in tags if not _TAG.fullmatch(t)]
    if bad or len(tags) > _TAGS:
        told = bad[0][:64] if bad else f"{len(tags)} tags"
        raise guard.refused(
            400, "bad-tags", f"{told!r}: at most {_TAGS} tags of letters, digits and ._:/-"
        )
    return frozenset(tags)
