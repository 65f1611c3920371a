"""People and their roles in the database, with the audit log of what was done to them.

Knows nothing about sessions or tokens: a token is a key with a user (`store/access`).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stead.core.errors import ConfigError, NotFound
from stead.store.access import Deed
from stead.store.db import Database
from stead.store.tables import AUDIT, USERS

Role = Literal["admin", "member", "viewer"]


@dataclass(frozen=True, slots=True)
class User:
    """One person. Times in Unix seconds; disabled: may do nothing."""

    id: str
    name: str
    role: Role
    created_at: float
    disabled_at: float | None = None


class Users:
    """The table of users. `actor` of a change is who makes it, for the audit log."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def all(self) -> list[User]:
        """Return every user, oldest first."""
        query = sa.select(USERS).order_by(USERS.c.created_at, USERS.c.id)
        with self._database.read() as connection:
            return [User(**row._mapping) for row in connection.execute(query)]

    def find(self, user_id: str) -> User | None:
        """Return the user of that id, or None."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(USERS).where(USERS.c.id == user_id)).first()
        return None if row is None else User(**row._mapping)

    def named(self, name: str) -> User:
        """Return the user of that id or name. Raises: NotFound("no-user")."""
        which = (USERS.c.id == name) | (USERS.c.name == name)
        with self._database.read() as connection:
            row = connection.execute(sa.select(USERS).where(which)).first()
        if row is None:
            raise _missing(name)
        return User(**row._mapping)

    def ensure(self, user: User) -> User:
        """Return the user of that id; add it when it is not there."""

        def work(connection: Connection) -> User:
            row = connection.execute(sa.select(USERS).where(USERS.c.id == user.id)).first()
            if row is not None:
                return User(**row._mapping)
            connection.execute(sa.insert(USERS), [asdict(user)])
            return user

        return self._database.transact(work)

    def add(self, user: User, actor: str) -> User:
        """Add a user. Raises: ConfigError("user-name-taken")."""

        def work(connection: Connection) -> User:
            taken = sa.select(USERS.c.id).where(USERS.c.name == user.name)
            if connection.execute(taken).first() is not None:
                raise ConfigError(
                    "user-name-taken", f"there is a user {user.name!r} already", status=409
                )
            connection.execute(sa.insert(USERS), [asdict(user)])
            self._note(connection, actor, "user.create", user.id, None, user)
            return user

        return self._database.transact(work)

    def change(self, user_id: str, actor: str, **values: Any) -> User:  # Any: column values
        """Change a user's role, or disable it; one admin stays.

        Raises: NotFound("no-user"); ConfigError("last-admin", status 409).
        """

        def work(connection: Connection) -> User:
            row = connection.execute(
                sa.select(USERS).where(USERS.c.id == user_id).with_for_update()
            ).first()
            if row is None:
                raise _missing(user_id)
            before = User(**row._mapping)
            after = replace(before, **values)
            connection.execute(sa.update(USERS).where(USERS.c.id == user_id).values(**values))
            self._keep_one_admin(connection)
            self._note(connection, actor, "user.change", user_id, before, after)
            return after

        return self._database.transact(work)

    @staticmethod
    def _keep_one_admin(connection: Connection) -> None:
        is_one = (USERS.c.role == "admin") & USERS.c.disabled_at.is_(None)
        if connection.execute(sa.select(USERS.c.id).where(is_one).limit(1)).first() is None:
            raise ConfigError("last-admin", "one admin must stay", status=409)

    def _note(
        self,
        connection: Connection,
        actor: str,
        action: str,
        user_id: str,
        before: User | None,
        after: User,
    ) -> None:
        deed = Deed(
            self._clock(), actor, action, f"user:{user_id}",
            None if before is None else asdict(before), asdict(after),
        )  # fmt: skip
        connection.execute(sa.insert(AUDIT), [asdict(deed)])


def _missing(name: str) -> NotFound:
    return NotFound("no-user", f"there is no user {name[:100]!r}", hint="stead users list")
