"""Who asks: a token becomes a caller, with the limits and models of its key.

Knows nothing about where keys are kept; `Keys` is the plain list of a command line, other
implementations stand behind the same two methods.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from stead.core.errors import SteadError
from stead.messages import Call
from stead.serving import guard


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of who asks. `key` is the key's public id, "" where no keys are asked for."""

    key: str = ""
    limits: tuple[Any, ...] = ()  # Any: `core.shared.Limit`; serving only passes them on
    models: frozenset[str] | None = None  # None: all

    def call(self, id_: str, tags: frozenset[str] = frozenset()) -> Call:
        """Return the record that travels with one request."""
        return Call(id=id_, key=self.key, limits=self.limits, models=self.models, tags=tags)

    def may(self, model: str) -> bool:
        """Say whether this key may ask for a model."""
        return self.models is None or model in self.models


NOBODY = Caller()


class Access(Protocol):
    """The seam to wherever keys are kept."""

    async def check(self, token: str) -> Caller:
        """Return who holds a token, "" when none was sent. Raises: RequestRefused 401."""

    async def recall(self, key: str) -> Caller:
        """Return the caller of a key's id, for work that outlives its request.

        Raises: RequestRefused 401 when the key is gone.
        """


class Keys:
    """A plain list of keys, all with the same rights; an empty list lets everybody in."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._callers = [(key.encode(), Caller(key_id(key))) for key in keys]

    async def check(self, token: str) -> Caller:
        """Return who holds a token; every key is compared, in constant time."""
        if not self._callers:
            return NOBODY
        if not token:
            raise missing_key()
        given = token.encode()
        matches = [c for key, c in self._callers if hmac.compare_digest(given, key)]
        if not matches:
            raise invalid_key()
        return matches[0]

    async def recall(self, key: str) -> Caller:
        """Return the caller of a key's id."""
        if not self._callers and not key:
            return NOBODY
        for _, caller in self._callers:
            if caller.key == key:
                return caller
        raise invalid_key()


def key_id(key: str) -> str:
    """Return a name for a key that does not tell it: 48 bits of its hash."""
    return "key-" + hashlib.sha256(b"stead key id\0" + key.encode()).hexdigest()[:12]


def missing_key() -> SteadError:
    """Return the refusal of a request without a key."""
    return guard.refused(
        401, "missing-api-key", "this server needs an API key (Authorization: Bearer …)"
    )


def invalid_key() -> SteadError:
    """Return the refusal of a wrong key."""
    return guard.refused(401, "invalid-api-key", "this API key is not valid here")


def token_of(head: guard.Head) -> str:
    """Return the key of a request, from `Authorization: Bearer` or `x-api-key`; "" for none."""
    scheme, _, given = head.authorization.partition(b" ")
    token = given.strip() if scheme.lower() == b"bearer" else b""
    return (token if token else head.api_key.strip()).decode("latin-1")
