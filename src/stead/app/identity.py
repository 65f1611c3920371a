"""Who is asking the platform: a session, a token, or nobody; each with the role of its user.

Knows nothing about HTTP. What was looked up is believed for a second. A key without a user may ask models and
nothing else, so it is nobody here.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stead.app.access import Access
from stead.app.sessions import Session, Sessions, csrf_of
from stead.core.errors import SteadError
from stead.serving.guard import refused
from stead.store.access import Keys
from stead.store.users import Role, User, Users

OWNER = "owner"
RANKS: dict[str, int] = {"viewer": 1, "member": 2, "admin": 3}
_SEEN_S = 1.0
_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks. `csrf` is empty unless a session asks."""

    id: str
    name: str
    role: Role
    via: Literal["session", "token", "none"]
    csrf: str = ""

    def may(self, role: str) -> bool:
        """Say whether this role includes another."""
        return RANKS[self.role] >= RANKS[role]


class Identities:
    """Looks up who holds a secret. `is_open`: everybody on this machine is the owner."""

    def __init__(
        self,
        users: Users,
        keys: Keys,
        access: Access,
        sessions: Sessions,
        *,
        is_open: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.users, self.keys, self.access, self.sessions = users, keys, access, sessions
        self.is_open = is_open
        self._monotonic = monotonic
        self._seen: OrderedDict[str, tuple[float, User | None]] = OrderedDict()

    def owner(self, now: float) -> User:
        """Return the user of whoever runs the server; made at the first start."""
        return self.users.ensure(User(OWNER, OWNER, "admin", now))

    async def of_session(self, token: str) -> Who | None:
        """Return who a session belongs to; None: it has ended, or its user is disabled."""
        user = await self._user("s " + token, lambda: self.sessions.find(token))
        if user is None:
            return None
        return Who(user.id, user.name, user.role, "session", csrf_of(token))

    async def of_token(self, token: str) -> Who:
        """Return who a bearer token belongs to. Raises: RequestRefused 401; 403 for a key without a user."""
        key = (await self.access.check(token)).key
        user = await self._user("k " + key, lambda: self._user_of_key(key))
        if user is None:
            raise refused(403, "no-user-of-key", "this key may ask models only: it has no user")
        return Who(user.id, user.name, user.role, "token")

    async def nobody(self) -> Who | None:
        """Return the owner where no token is asked for, else None."""
        if not self.is_open:
            return None
        return Who(OWNER, OWNER, "admin", "none")

    async def login(self, secret: str) -> Session:
        """Exchange a link's code, or a user's token, for a session. Raises: RequestRefused 401, 403."""
        found = await asyncio.to_thread(self.sessions.redeem, secret)
        if found is not None:
            if await self.of_session(found.token) is None:
                raise _bad_login()
            return found
        try:
            who = await self.of_token(secret)
        except SteadError as error:
            raise _bad_login() from error
        return await asyncio.to_thread(self.sessions.open, who.id)

    def forget(self) -> None:
        """Believe nothing that was looked up before."""
        self._seen.clear()

    def _user_of_key(self, key: str) -> str | None:
        row = self.keys.find(key)
        return None if row is None else row.user_id

    async def _user(self, name: str, whose: Callable[[], str | None]) -> User | None:
        seen, now = self._seen.get(name), self._monotonic()
        if seen is not None and now - seen[0] < _SEEN_S:
            return seen[1]

        def look() -> User | None:
            user_id = whose()
            found = None if user_id is None else self.users.find(user_id)
            return None if found is None or found.disabled_at is not None else found

        user = await asyncio.to_thread(look)
        self._seen[name] = (now, user)
        self._seen.move_to_end(name)
        while len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        return user


def _bad_login() -> SteadError:
    return refused(401, "bad-login", "this link or token is not valid; a link works once")
