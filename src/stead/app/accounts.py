"""Everything that keeps account of requests, opened together: keys, limits, ledger, sums.

Knows nothing about servers or strategies; whoever opens it closes it, after the last request.
"""

import time
from dataclasses import dataclass

from stead.app.access import Access, WhenKeyed
from stead.config.settings import read_settings
from stead.core.errors import ConfigError
from stead.core.paths import Home
from stead.core.shared import MemoryShared, Shared
from stead.store.access import Keys
from stead.store.db import Database
from stead.store.migrate import open_database
from stead.store.shared_sql import SharedSQL
from stead.store.spend import Spend, SpendLedger


@dataclass(frozen=True, slots=True)
class Accounts:
    """`access` checks tokens, `door` only once there are keys, `shared` counts limits, `ledger` takes entries, `spend` adds them up."""

    database: Database
    keys: Keys
    access: Access
    door: WhenKeyed
    shared: Shared
    ledger: SpendLedger
    spend: Spend

    @classmethod
    def open(
        cls, home: Home, *, open_tokens: tuple[str, ...] = (), actor: str = "server"
    ) -> "Accounts":
        """Open what the settings name.

        Raises: ConfigError("bad-database-url", "bad-counting"); ResourceError("database-unavailable").
        """
        settings = read_settings(home).value
        database = open_database(home, settings.database_url)
        try:
            keys = Keys(database, time.time, actor)
            spend = Spend(database)
            shared = _counters(settings.count_limits_in, database, spend)
            ledger = SpendLedger(database, home.state / "unsaved")
            access = Access(keys, open_tokens=open_tokens)
            door = WhenKeyed(access, keys)
        except BaseException:
            database.close()
            raise
        return cls(database, keys, access, door, shared, ledger, spend)

    @property
    def asks_for_keys(self) -> bool:
        """Say whether any key is known: without one, everybody on this machine may ask."""
        return self.access.has_open_tokens or self.keys.any()

    async def close(self) -> None:
        """Write what is left and hang up. Raises: ResourceError("ledger-unsaved", "unsettled")."""
        try:
            await self.ledger.close()
        finally:
            try:
                await self.shared.close()
            finally:
                self.database.close()


def _counters(where: str, database: Database, spend: Spend) -> Shared:
    if where == "memory":
        return MemoryShared(opening=spend.opening)
    if where == "database":
        return SharedSQL(database)
    if where.startswith(("redis://", "rediss://", "unix://")):
        from stead.store.shared_redis import SharedRedis

        return SharedRedis(where)
    raise ConfigError(
        "bad-counting",
        f"count_limits_in={where!r} is neither memory nor database nor redis://…",
        hint="export STEAD_COUNT_LIMITS_IN=database",
    )
