"""The door of the platform's API: who asks, from where, with what rights, how much and how often.

Knows nothing about what routes do. Each route's policy stands in `web/policies`; a route that has none cannot be
made. Host and origin are judged before (`web/app`), by the same code as the gateway's.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

from fastapi import Request, Response, WebSocket
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from stead.app.identity import Identities, Who
from stead.core.errors import ConfigError, SteadError
from stead.serving.guard import refused, too_large
from stead.store.audit import Audit
from stead.web.policies import POLICIES, Policy
from stead.web.problems import problem

COOKIE = "stead_session"
CSRF = "x-stead-csrf"
_SAFE = frozenset({"GET", "HEAD"})
_MEDIA = {"json": "application/json", "form": "multipart/form-data"}
RATES: dict[str, tuple[int, float]] = {"login": (10, 60.0), "upload": (120, 60.0)}
"""Per class: how many requests of one client in how many seconds."""


def policy_of(method: str, path: str) -> Policy:
    """Return the policy of a route. Raises: ConfigError("no-policy")."""
    found = POLICIES.get(f"{method} {path}")
    if found is None:
        raise ConfigError("no-policy", f"the route {method} {path} declares no policy")
    return found


class Guarded(APIRoute):
    """A route that is asked for only by those its policy lets in; its errors are problem details."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        methods = options.get("methods")
        self.policies = {m: policy_of(m, path) for m in (methods if methods is not None else ())}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the route's handler with the guard before it and the errors' mapping around it."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                guard: Guard = request.app.state.guard
                policy = self.policies[request.method]
                request.state.who = await guard.admit(request, policy)
                bounded = Request(request.scope, limited(request.receive, policy.body_bytes))
                answer = await inner(bounded)
                if request.method not in _SAFE and request.state.who is not None:
                    await guard.note(request.state.who, request, self.path)
            except Exception as error:  # house: broad-except - the edge: every fault gets an answer
                return problem(_cause(error), request.app.state.platform.home.hide)
            return answer

        return handler


def _cause(error: Exception) -> Exception:
    """Return our own error where the framework has wrapped it while reading the body."""
    cause = error.__cause__
    return cause if isinstance(cause, SteadError) and not isinstance(error, SteadError) else error


def limited(receive: Receive, most: int) -> Receive:
    """Return `receive` that refuses a body of more than `most` bytes, whatever its head says."""
    read = 0

    async def counted() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most:
            raise too_large(most)
        return message

    return counted


@dataclass(frozen=True, slots=True)
class Guard:
    """Admits requests. `rates` counts by class and client; `audit` keeps who changed what."""

    identities: Identities
    audit: Audit
    rates: "Rates"

    async def admit(self, request: Request, policy: Policy) -> Who | None:
        """Return who asks; None on public routes.

        Raises: RequestRefused 401, 403, 413, 415; RateLimited.
        """
        client = "" if request.client is None else request.client.host
        if policy.rate:
            self.rates.count(policy.rate, client)
        is_change = request.method not in _SAFE
        who = None
        if policy.role != "public":
            who = await self.who(request)
            check_role(who, policy)
            if is_change and who.via == "session":
                check_csrf(who, request.headers.get(CSRF, ""))
        if is_change:
            check_head(request, policy)
        return who

    async def admit_socket(self, socket: WebSocket, policy: Policy) -> Who:
        """Return who opens a socket. Raises: RequestRefused 401, 403."""
        who = await self.who(socket)
        check_role(who, policy)
        return who

    async def lets_in(self, socket: WebSocket, policy: Policy) -> bool:
        """Say whether a socket may open; one that may not is closed before it is accepted (HTTP 403)."""
        try:
            await self.admit_socket(socket, policy)
        except SteadError:
            await socket.close(1008)
            return False
        return True

    async def who(self, asked: Request | WebSocket) -> Who:
        """Return who asks by token, session, or the open door. Raises: RequestRefused 401, 403."""
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return await self.identities.of_token(token.strip())
        session = asked.cookies.get(COOKIE, "")
        found = await self.identities.of_session(session) if session else None
        if found is None:
            found = await self.identities.nobody()
        if found is None:
            raise refused(
                401, "not-signed-in", "open the link that stead serve has printed, or send a token"
            )
        return found

    async def note(self, who: Who, request: Request, path: str) -> None:
        """Write a change that was made to the audit log; `request.state.changed`: before and after, from the route."""
        from starlette.concurrency import run_in_threadpool

        subject = ", ".join(f"{k}={v}" for k, v in request.path_params.items())
        before, after = getattr(request.state, "changed", (None, None))
        action = f"{request.method} {path}"
        await run_in_threadpool(self.audit.add, who.name, action, subject[:300], before, after)


def check_role(who: Who, policy: Policy) -> None:
    """Refuse a role that is too low. Raises: RequestRefused 403."""
    if not who.may(policy.role):
        raise refused(403, "role-too-low", f"this needs the role {policy.role}, you are {who.role}")


def check_csrf(who: Who, given: str) -> None:
    """Refuse a change that a page of this session did not ask for. Raises: RequestRefused 403."""
    if not compare_digest(who.csrf.encode(), given.encode()):
        raise refused(
            403, "bad-csrf", "changes need the header X-Stead-CSRF with the value of GET /api/me"
        )


def check_head(request: Request, policy: Policy) -> None:
    """Refuse a body by its headers. Raises: RequestRefused 413, 415."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > policy.body_bytes:
        raise too_large(policy.body_bytes)
    has_body = length not in ("", "0") or "transfer-encoding" in request.headers
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if (has_body or given) and given != _MEDIA[policy.kind]:
        raise refused(
            415,
            "unsupported-media-type",
            f"the body is {given[:100]!r}, not {_MEDIA[policy.kind]!r}",
        )


class Rates:
    """Counts requests in a sliding window, per class and client; at most 4096 clients are remembered."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def count(self, name: str, client: str) -> None:
        """Count one request. Raises: RequestRefused 429 over the limit."""
        most, window_s = RATES[name]
        now = self._monotonic()
        times = self._seen.setdefault((name, client), deque())
        self._seen.move_to_end((name, client))
        while times and now - times[0] >= window_s:
            times.popleft()
        if len(times) >= most:
            error = refused(429, "too-many-requests", f"more than {most} in {window_s:g} s")
            error.details["retry_after_s"] = window_s - (now - times[0])
            raise error
        times.append(now)
        while len(self._seen) > 4096:
            self._seen.popitem(last=False)
