"""API keys: made, shown once, checked on every request, limited, revoked.

Knows nothing about HTTP or where keys are kept (`store/access`). A token is `sk-stead-ID-SECRET`: the id finds
the key, the secret has 256 random bits, and only the SHA-256 of the whole is stored. Guessing such a token is
hopeless, so a slow hash would only slow down the server.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from stead.core.errors import ConfigError, SteadError
from stead.core.secret import Secret
from stead.core.shared import Limit
from stead.serving.access import NOBODY, Caller, invalid_key, missing_key
from stead.serving.guard import refused
from stead.store.access import KeyRow, Keys

_TOKEN = re.compile(r"sk-stead-([a-z0-9]{12})-[A-Za-z0-9_-]{43}")
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_SEEN_S = (
    1.0  # how long a key is believed before it is looked up again; a revocation is seen within two
)
_KEPT = 10_000
_NO_HASH = hashlib.sha256(b"").hexdigest()
_MINUTE_S = 60.0


class Finds(Protocol):
    """Where keys are looked up."""

    def find(self, key_id: str) -> KeyRow | None:
        """Return the key of that id, or None."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key may do. Amounts per minute, at once, and in picodollars per day and month (UTC)."""

    models: tuple[str, ...] | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    daily_budget: int | None = None
    monthly_budget: int | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A new key and its token, which nobody can be told again."""

    key: KeyRow
    token: Secret


def create(keys: Keys, name: str, grant: Grant, *, now: float, user_id: str | None = None) -> Made:
    """Make a key. Raises: ConfigError("bad-key-name", "key-name-taken", "bad-grant")."""
    if not re.fullmatch(r"[\w .@:+-]{1,64}", name) or name != name.strip():
        raise ConfigError(
            "bad-key-name", f"{name[:100]!r} is no name for a key (at most 64 letters)"
        )
    check(grant)
    key_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
    token = f"sk-stead-{key_id}-{secrets.token_urlsafe(32)}"
    row = KeyRow(
        id=key_id,
        name=name,
        hash=_hash(token),
        created_at=now,
        user_id=user_id,
        models=grant.models,
        rpm=grant.rpm,
        tpm=grant.tpm,
        concurrency=grant.concurrency,
        daily_budget=grant.daily_budget,
        monthly_budget=grant.monthly_budget,
        expires_at=grant.expires_at,
    )
    keys.add(row)
    return Made(row, Secret(token))


def check(grant: Grant) -> None:
    """Refuse limits below zero. Raises: ConfigError("bad-grant")."""
    for name in ("rpm", "tpm", "concurrency", "daily_budget", "monthly_budget"):
        amount = getattr(grant, name)
        if amount is not None and not 0 <= amount < 2**63:
            raise ConfigError("bad-grant", f"{name}={amount} is no limit")


def limits_of(key: KeyRow) -> tuple[Limit, ...]:
    """Return the limits of a key, each with a counter of its own."""
    scope = f"key {key.id}"
    found = []
    if key.rpm is not None:
        found.append(Limit("rpm", "requests", key.rpm, _MINUTE_S, scope))
    if key.tpm is not None:
        found.append(Limit("tpm", "tokens", key.tpm, _MINUTE_S, scope))
    if key.concurrency is not None:
        found.append(Limit("concurrency", "concurrency", key.concurrency, None, scope))
    if key.daily_budget is not None:
        found.append(Limit("daily_budget", "money", key.daily_budget, None, scope, calendar="day"))
    if key.monthly_budget is not None:
        found.append(
            Limit("monthly_budget", "money", key.monthly_budget, None, scope, calendar="month")
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A key as requests know it."""

    name: str
    caller: Caller
    hash: str
    expires_at: float | None
    revoked_at: float | None

    @classmethod
    def of(cls, key: KeyRow) -> "KeyFacts":
        """Make the facts of a row."""
        models = None if key.models is None else frozenset(key.models)
        caller = Caller(key.id, limits_of(key), models)
        return cls(key.name, caller, key.hash, key.expires_at, key.revoked_at)


@dataclass(slots=True)
class _Seen:
    facts: KeyFacts | None
    at: float  # of the monotonic clock


class Access:
    """The keys of the database, behind the server's seam; what was looked up is believed for a second.

    `open_tokens` are keys of the command line or a file, beside those of the database; they have no limits.
    """

    def __init__(
        self,
        keys: Finds,
        *,
        open_tokens: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._monotonic = monotonic
        self._open = {_hash(t): Caller(f"key-{_hash('id ' + t)[:12]}") for t in open_tokens}
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    @property
    def has_open_tokens(self) -> bool:
        """Say whether there are keys beside those of the database."""
        return bool(self._open)

    async def check(self, token: str) -> Caller:
        """Return who holds a token. Raises: RequestRefused 401: missing, invalid, revoked or expired."""
        if not token:
            raise missing_key()
        given = _hash(token)
        if given in self._open:  # looked up by a hash: its timing tells nothing of the token
            return self._open[given]
        found = _TOKEN.fullmatch(token)
        facts = None if found is None else await self._facts(found[1])
        known = _NO_HASH if facts is None else facts.hash
        if not hmac.compare_digest(given, known) or facts is None:
            raise invalid_key()
        return self._in_force(facts)

    async def recall(self, key: str) -> Caller:
        """Return the caller of a key's id, for work that outlives its request. Raises: RequestRefused 401."""
        for caller in self._open.values():
            if caller.key == key:
                return caller
        facts = await self._facts(key)
        if facts is None:
            raise invalid_key()
        return self._in_force(facts)

    def _in_force(self, facts: KeyFacts) -> Caller:
        if facts.revoked_at is not None:
            raise _over("revoked-api-key", f"the API key {facts.name!r} was revoked")
        if facts.expires_at is not None and self._clock() >= facts.expires_at:
            raise _over("expired-api-key", f"the API key {facts.name!r} has expired")
        return facts.caller

    async def _facts(self, key_id: str) -> KeyFacts | None:
        seen = self._seen.get(key_id)
        now = self._monotonic()
        if seen is not None and now - seen.at < _SEEN_S:
            return seen.facts
        row = await asyncio.to_thread(self._keys.find, key_id)
        facts = None if row is None else KeyFacts.of(row)
        self._seen[key_id] = _Seen(facts, now)  # as of the time of asking
        self._seen.move_to_end(key_id)
        while len(self._seen) > _KEPT:  # made-up ids must not fill the memory
            self._seen.popitem(last=False)
        return facts


class Lists(Protocol):
    """Where keys are listed."""

    def any(self) -> bool:
        """Say whether there is or was any key."""


class WhenKeyed:
    """`inner` from the first key on, also one that is made while the server runs; before, everybody may ask.

    A key is noticed within `_SEEN_S` and the time of a look, or at once when it is sent. Implements
    `serving.access.Access`. Use from one event loop.
    """

    def __init__(
        self, inner: Access, keys: Lists, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._inner = inner
        self._keys = keys
        self._monotonic = monotonic
        self._asks = inner.has_open_tokens or keys.any()
        self._seen_at = monotonic()

    async def check(self, token: str) -> Caller:
        """Return who holds a token. Raises: as `inner`, once there is a key."""
        if self._asks or await self._look(at_once=_TOKEN.fullmatch(token) is not None):
            return await self._inner.check(token)
        return NOBODY

    async def recall(self, key: str) -> Caller:
        """Return the caller of a key's id. Raises: as `inner`, once there is a key."""
        if self._asks or await self._look(at_once=bool(key)):
            return await self._inner.recall(key)
        return NOBODY

    async def _look(self, *, at_once: bool) -> bool:
        now = self._monotonic()
        if at_once or now - self._seen_at >= _SEEN_S:
            self._seen_at = now
            self._asks = await asyncio.to_thread(self._keys.any) or self._asks
        return self._asks


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _over(code: str, message: str) -> SteadError:
    return refused(401, code, message)
