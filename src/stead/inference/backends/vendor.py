"""A vendor of `vendors.yaml` as a Backend: its address, its key, and requests said as it takes them.

Knows nothing about protocols: `Remote` speaks. What a vendor does not take is left out as a deviation, or the
request is refused when it is strict.
"""

import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from stead.core.address import Place, place_of
from stead.core.errors import BackendError, ConfigError, UnsafeError
from stead.core.http import DEFAULT_WAITS, Http, Waits
from stead.core.secret import Secret
from stead.inference.address import Address
from stead.inference.backend import Backend
from stead.inference.fill import Filled
from stead.inference.remote import Remote
from stead.inference.strict import declare, with_reply, with_stream
from stead.inference.vendor_rows import Row, origin, row
from stead.inference.wrapper import Wrapper
from stead.messages import (
    Chunk,
    Deviation,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    ModelCard,
    Reply,
    Sampling,
    sampled,
)

_EMPTY = msgspec.structs.asdict(Sampling())


class Vendor(Wrapper):
    """The vendor called `name`.

    A key from the environment goes to the vendor's own origin only; for another `base_url` it must be given as
    `api_key`. Without a key that is needed, `unavailable` says which variable to set, and every call raises
    BackendError("no-key"). `options` fill the row's headers (organization, project, …).
    """

    def __init__(
        self,
        name: str,
        *,
        api_key: str | Secret | None = None,
        base_url: str | None = None,
        options: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        http: Http | None = None,
        waits: Waits = DEFAULT_WAITS,
    ) -> None:
        env = os.environ if environment is None else environment
        self.name = name
        self._row = row(name)
        self.url = _url(name, self._row, base_url, env)
        given = Secret(api_key) if isinstance(api_key, str) else api_key
        key = given if given else self._own_key(env)
        self.place: Place = self._row.place if self._row.place == "public" else place_of(self.url)
        self.unavailable = _unavailable(self._row, key)
        _check_clear(self.url, self.place, key)
        super().__init__(self._speak(key, options, env, http, waits))

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole. Raises: BackendError("no-key")."""
        asked, dropped = self._said(request)
        return with_reply(await self.inner.generate(asked, deadline), dropped)

    def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece. Raises: BackendError("no-key"), at once."""
        asked, dropped = self._said(request)
        chunks = self.inner.stream(asked, deadline)
        return with_stream(chunks, dropped) if dropped else chunks

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors. Raises: BackendError("no-key")."""
        self._check_key()
        return await self.inner.embed(request, deadline)

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt, where the vendor has a route for it."""
        asked, _ = self._said(request)
        return await self.inner.count(asked, deadline)

    async def models(self) -> list[ModelCard]:
        """List what the vendor says it serves. Raises: BackendError("no-key")."""
        self._check_key()
        return await self.inner.models()

    def _own_key(self, env: Mapping[str, str]) -> Secret | None:
        """Return the key of the environment if it is meant for this address."""
        home = self._row.url
        if home is None or origin(home) != origin(self.url):
            return None
        found = [env[variable] for variable in self._row.keys if env.get(variable)]
        return Secret(found[0]) if found else None

    def _speak(
        self,
        key: Secret | None,
        options: Mapping[str, str] | None,
        env: Mapping[str, str],
        http: Http | None,
        waits: Waits,
    ) -> Backend:
        remote: Backend = Remote(
            Address.of(self.url, self._row.version),
            token=None if key is None else key.reveal(),
            dialects=self._row.dialects,
            headers=_headers(self._row, {} if options is None else options, env),
            omit=self._row.omit,
            http=http,
            waits=waits,
        )
        return Filled(remote, frozenset(self._row.lacks)) if self._row.lacks else remote

    def _check_key(self) -> None:
        if self.unavailable is not None:
            raise BackendError("no-key", f"{self._row.title}: {self.unavailable}", status=503)

    def _said(self, request: GenerateRequest) -> tuple[GenerateRequest, tuple[Deviation, ...]]:
        """Return the request as the vendor takes it, and what had to be left out.

        Raises: BackendError("no-key" | "deviation").
        """
        self._check_key()
        asked, dropped = adapt(self.name, self._row, request)
        asked, silenced = _turns_without(self.name, self._row, asked)
        dropped += silenced
        declare(request, dropped)
        return asked, dropped


def _turns_without(
    name: str, facts: Row, request: GenerateRequest
) -> tuple[GenerateRequest, tuple[Deviation, ...]]:
    """Return a request without the fields of messages that a row leaves out; the same object if none is set."""
    turns = request.messages
    if turns is None:
        return request, ()
    gone = [f for f in facts.turns_drop if any(getattr(m, f) is not None for m in turns)]
    if not gone:
        return request, ()
    bare = tuple(replace(m, **dict.fromkeys(gone)) for m in turns)
    told = [Deviation("param_dropped", f"messages.{f}: {name} does not take it") for f in gone]
    return replace(request, messages=bare), tuple(told)


def adapt(
    name: str, facts: Row, request: GenerateRequest
) -> tuple[GenerateRequest, tuple[Deviation, ...]]:
    """Return a request with fields renamed and left out as a row says; the same object if none is set."""
    given = {k: getattr(request.sampling, k) for k in sampled(request.sampling)}
    if request.user is not None:
        given["user"] = request.user
    moved: dict[str, tuple[str, Any]] = {}  # Any: JSON values
    dropped: list[str] = []
    for change in facts.changes:
        if not change.applies(request.model):
            continue
        for field, name_there in change.rename.items():
            if field in given and field not in moved:
                moved[field] = (name_there, given[field])
        dropped += [f for f in change.drop if f in given and f not in dropped]
    gone = [*moved, *dropped]
    if not gone:
        return request, ()
    empty = {f: _EMPTY[f] for f in gone if f != "user"}
    asked = replace(
        request,
        sampling=replace(request.sampling, **empty),
        user=None if "user" in gone else request.user,
        extra=dict(moved.values()) | request.extra,
    )
    return asked, tuple(
        Deviation("param_dropped", f"{field}: {name} does not take it") for field in dropped
    )


def _url(name: str, facts: Row, base_url: str | None, env: Mapping[str, str]) -> str:
    """Return the address: as given, of the environment, or the row's own."""
    found = [env[variable] for variable in facts.url_env if env.get(variable)]
    url = base_url if base_url is not None else found[0] if found else facts.url
    if url is None:
        raise ConfigError("no-url", f"the vendor {name!r} has no address of its own: give base_url")
    origin(url)
    return url


def _unavailable(facts: Row, key: Secret | None) -> str | None:
    if key is not None or not facts.needs_key:
        return None
    return f"{facts.keys[0]} is not set, and no key is given for this address"


def _check_clear(url: str, place: Place, key: Secret | None) -> None:
    """Refuse to send a key unencrypted over the internet."""
    if key is not None and place_of(url) == "public" and url.startswith("http://"):
        raise UnsafeError("key-in-clear", f"a key would go unencrypted to {url!r}")


def _headers(facts: Row, options: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for header, facts_ in facts.headers.items():
        value = options.get(facts_.option)
        if value is None and facts_.env is not None:
            value = env.get(facts_.env)
        if value:
            found[header] = value
    return found
