"""API keys in the database, and the audit log of what was done to them.

Knows nothing about tokens: only their hashes come here. A change and its line in the audit log are one
transaction.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from stead.core.errors import ConfigError, NotFound
from stead.store.db import Database
from stead.store.tables import AUDIT, KEYS


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key. Budgets in picodollars, times in Unix seconds, None: no limit, never."""

    id: str
    name: str
    hash: str  # SHA-256 of the token, hex
    created_at: float
    user_id: str | None = None
    models: tuple[str, ...] | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    daily_budget: int | None = None
    monthly_budget: int | None = None
    expires_at: float | None = None
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Deed:
    """One line of the audit log."""

    at: float
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None = None  # Any: JSON values
    after: dict[str, Any] | None = None


class Keys:
    """The table of keys. `actor` is who changes it, for the audit log."""

    def __init__(self, database: Database, clock: Callable[[], float], actor: str) -> None:
        self._database = database
        self._clock = clock
        self._actor = actor

    def add(self, key: KeyRow) -> None:
        """Add a key. Raises: ConfigError("key-name-taken")."""

        def work(connection: Connection) -> None:
            taken = (KEYS.c.name == key.name) & KEYS.c.revoked_at.is_(None)
            if connection.execute(sa.select(KEYS.c.id).where(taken)).first() is not None:
                raise ConfigError("key-name-taken", f"there is a key {key.name!r} already")
            connection.execute(sa.insert(KEYS), [_columns(key)])
            self._note(connection, "key.create", key.id, None, key)

        self._database.transact(work)

    def find(self, key_id: str) -> KeyRow | None:
        """Return the key of that id, or None."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(KEYS).where(KEYS.c.id == key_id)).first()
        return None if row is None else _key(row)

    def any(self) -> bool:
        """Say whether there is or was any key."""
        with self._database.read() as connection:
            return connection.execute(sa.select(KEYS.c.id).limit(1)).first() is not None

    def named(self, name: str) -> KeyRow:
        """Return the key of that id or name, one in force before a revoked one. Raises: NotFound("no-key")."""
        is_it = (KEYS.c.id == name) | (KEYS.c.name == name)
        order = (KEYS.c.revoked_at.isnot(None), KEYS.c.created_at.desc())
        with self._database.read() as connection:
            row = connection.execute(sa.select(KEYS).where(is_it).order_by(*order)).first()
        if row is None:
            raise NotFound("no-key", f"there is no key {name[:100]!r}", hint="stead keys list")
        return _key(row)

    def all(self) -> list[KeyRow]:
        """Return every key, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(KEYS).order_by(KEYS.c.created_at, KEYS.c.id)).all()
        return [_key(row) for row in rows]

    def revoke(self, key_id: str) -> KeyRow:
        """Take a key out of force, now and for ever."""
        return self._change(key_id, "key.revoke", {"revoked_at": self._clock()})

    def limit(self, key_id: str, changes: dict[str, Any]) -> KeyRow:  # Any: column values
        """Change limits, budgets, models or the end of a key."""
        return self._change(key_id, "key.limit", changes)

    def deeds(self, most: int = 100) -> list[Deed]:
        """Return the newest lines of the audit log, newest first."""
        columns = [
            AUDIT.c[name] for name in ("at", "actor", "action", "subject", "before", "after")
        ]
        query = sa.select(*columns).order_by(AUDIT.c.id.desc()).limit(most)
        with self._database.read() as connection:
            return [Deed(*row) for row in connection.execute(query)]

    def _change(self, key_id: str, action: str, changes: dict[str, Any]) -> KeyRow:
        def work(connection: Connection) -> KeyRow:
            row = connection.execute(sa.select(KEYS).where(KEYS.c.id == key_id)).first()
            if row is None:
                raise NotFound(
                    "no-key", f"there is no key {key_id[:100]!r}", hint="stead keys list"
                )
            before = _key(row)
            after = replace(before, **changes)
            connection.execute(sa.update(KEYS).where(KEYS.c.id == key_id).values(_columns(after)))
            self._note(connection, action, key_id, before, after)
            return after

        return self._database.transact(work)

    def _note(
        self, connection: Connection, action: str, key_id: str, before: KeyRow | None, after: KeyRow
    ) -> None:
        deed = Deed(
            self._clock(), self._actor, action, f"key:{key_id}",
            None if before is None else _shown(before), _shown(after),
        )  # fmt: skip
        connection.execute(sa.insert(AUDIT), [asdict(deed)])


def _columns(key: KeyRow) -> dict[str, Any]:
    return asdict(key) | {"models": None if key.models is None else list(key.models)}


def _shown(key: KeyRow) -> dict[str, Any]:
    """Return a key for the audit log: without its hash."""
    return {name: value for name, value in _columns(key).items() if name != "hash"}


def _key(row: Row[Any]) -> KeyRow:
    found = dict(row._mapping)
    models = found.pop("models")
    return KeyRow(models=None if models is None else tuple(models), **found)
