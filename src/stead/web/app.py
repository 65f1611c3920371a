"""The ASGI root: models' routes go to `serving` as they are, `/api` to the platform, all else to the pages.

Knows nothing about any route. The models' routes pay for one comparison of the path; host and origin are judged
here for all others, by the same code.
"""

import pkgutil
from collections.abc import Sized
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import stead
from stead.app.platform import Platform
from stead.core.errors import SteadError
from stead.core.lazy import load
from stead.serving import guard as gateway_guard
from stead.serving.asgi import App
from stead.serving.ollama_info import METHODS
from stead.serving.settings import Settings
from stead.web import routes
from stead.web.document import Documented
from stead.web.guard import COOKIE, CSRF, Guard, Rates, check_csrf
from stead.web.live import Closing
from stead.web.problems import problem
from stead.web.session_access import SessionAccess
from stead.web.shapes import Problem
from stead.web.static_files import SAFE, StaticFiles

_OLLAMA = frozenset({"/api/generate", "/api/chat", "/api/embed", "/api/embeddings", *METHODS})
_ANY = "the problem, as RFC 9457 has it"
_HEADERS = [*SAFE, (b"cache-control", b"no-store")]


def routers() -> dict[str, APIRouter]:
    """Return the router of every file in `web/routes`, by the file's name."""
    names = sorted(m.name for m in pkgutil.iter_modules(routes.__path__))
    return {name: load(f"{routes.__name__}.{name}", extra="serve").router for name in names}


def api() -> FastAPI:
    """Return the platform's API, still without a platform. Raises: ConfigError("no-policy")."""
    app = Documented(
        title="stead", version=stead.__version__, openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False,
        responses={"default": {"model": Problem, "description": _ANY}},
        generate_unique_id_function=lambda route: route.name,
    )  # fmt: skip
    for router in routers().values():
        app.include_router(router)
    for kind in (404, 405):
        app.add_exception_handler(kind, _answered)
    return app


async def _answered(_: Any, error: Exception) -> JSONResponse:  # Any: a request
    return problem(error)


class Root:
    """The whole server; its shape is `serving.asgi.App`'s, whose requests it counts with its own."""

    def __init__(
        self, gateway: App, platform: Platform, settings: Settings, sessions: SessionAccess
    ) -> None:
        self._gateway = gateway
        self._platform = platform
        self._settings = settings
        self._sessions = sessions
        self._closing = Closing()
        self._working: set[int] = set()
        self._pages = StaticFiles()
        self.guard = Guard(platform.identities, platform.audit, Rates())
        self.app = api()
        self.app.state.platform = platform
        self.app.state.guard = self.guard
        self.app.state.closing = self._closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection event of ASGI."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._gateway(scope, receive, send)
        elif kind == "http" and self._is_gateways(scope["path"]):
            await self._gateway(await self._signed(scope), receive, send)
        else:
            await self._own(scope, receive, send)

    @property
    def active(self) -> Sized:
        """What is not answered yet; streams that only follow end by themselves and do not count."""
        return [*self._gateway.active, *self._working]

    def drain(self) -> None:
        """Refuse new requests to models from now on; end the streams that follow."""
        self._closing.now = True
        self._gateway.drain()

    def cut(self) -> None:
        """End what is at work, with a word to its client."""
        self._gateway.cut()

    @staticmethod
    def _is_gateways(path: str) -> bool:
        return path.startswith("/v1/") or path in _OLLAMA or path in ("/health", "/metrics", "/v1")

    async def _own(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except SteadError as error:
            await _refuse(scope, receive, send, error)
            return
        answer: ASGIApp = self.app if scope["path"].startswith("/api") else self._pages
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        key = id(scope)
        self._working.add(key)

        async def safe_send(message: Message) -> None:
            if message["type"] == "http.response.start" and answer is self.app:
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(h for h in _HEADERS if h[0] not in given),
                ]
                if (b"content-type", b"text/event-stream; charset=utf-8") in message["headers"]:
                    self._working.discard(key)
            await send(message)

        try:
            await answer(scope, receive, safe_send)
        finally:
            self._working.discard(key)

    def _check(self, scope: Scope) -> None:
        """Raises: RequestRefused 400, 403, 421, 431."""
        head = gateway_guard.Head(scope["headers"])
        gateway_guard.check_host(head, self._settings)
        gateway_guard.check_origin(head)
        if any(not c.isprintable() for c in scope["path"]) or len(scope["path"]) > 2048:
            raise gateway_guard.refused(
                400, "bad-path", "the path holds what no name has, or is too long"
            )

    async def _signed(self, scope: Scope) -> Scope:
        """Return a request of a browser's session with the token that stands for it; others as they are."""
        headers = scope["headers"]
        found = {
            name: value
            for name, value in headers
            if name in (b"cookie", CSRF.encode(), b"authorization")
        }
        if b"cookie" not in found or b"authorization" in found:
            return scope
        token = _cookie(found[b"cookie"].decode("latin-1"))
        who = await self._platform.identities.of_session(token) if token else None
        if who is None or not who.may("member"):
            return scope
        if scope["method"] not in ("GET", "HEAD"):
            try:
                check_csrf(who, found.get(CSRF.encode(), b"").decode("latin-1"))
            except SteadError:
                return scope  # asked as nobody: refused where keys are asked for
        secret = self._sessions.token_of(who.id)
        return {**scope, "headers": [*headers, (b"authorization", b"Bearer " + secret.encode())]}


def _cookie(text: str) -> str:
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


async def _refuse(scope: Scope, receive: Receive, send: Send, error: SteadError) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    answer = problem(error)
    for name, value in _HEADERS:
        answer.headers[name.decode()] = value.decode()
    await answer(scope, receive, send)
