"""Lets a browser's session ask models: a token that lives in this process alone stands for its user.

Knows nothing about cookies. Behind it stand the keys that the server knows; without any, everybody may ask.
"""

import secrets

from stead.serving.access import NOBODY, Access, Caller

_PREFIX = "stead-session-"


class SessionAccess(Access):
    """`inner` with the sessions' tokens before it. `inner` None: nobody is asked for a key."""

    def __init__(self, inner: Access | None) -> None:
        self._inner = inner
        self._secret = secrets.token_urlsafe(32)
        self._users: dict[str, str] = {}

    def token_of(self, user: str) -> str:
        """Return what stands for a user's session within this process; it never leaves it."""
        token = f"{_PREFIX}{self._secret}-{user}"
        self._users[token] = user
        return token

    async def check(self, token: str) -> Caller:
        """Return who holds a token. Raises: RequestRefused 401."""
        user = self._users.get(token)
        if user is not None:
            return Caller(key=f"user-{user}")
        return NOBODY if self._inner is None else await self._inner.check(token)

    async def recall(self, key: str) -> Caller:
        """Return the caller of a key's id. Raises: RequestRefused 401."""
        if key.startswith("user-") and any(key == f"user-{user}" for user in self._users.values()):
            return Caller(key=key)
        return NOBODY if self._inner is None else await self._inner.recall(key)
