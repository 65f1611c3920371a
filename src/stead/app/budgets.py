"""Accounts that are closed with the Backend that they keep the books of.

Knows nothing about strategies or what is counted.
"""

import logging
from collections.abc import Callable

from stead.app.accounts import Accounts
from stead.config.settings import read_settings
from stead.core.errors import ConfigError, ResourceError
from stead.core.lazy import installed
from stead.core.paths import Home
from stead.inference.backend import Backend
from stead.inference.meter import Meter
from stead.inference.prices import FREE
from stead.inference.wrapper import Wrapper

_LOG = logging.getLogger("stead.gateway")


class Accounted(Wrapper):
    """`inner`, whose accounts are closed with it."""

    def __init__(self, inner: Backend, accounts: Accounts) -> None:
        super().__init__(inner)
        self._accounts: Accounts | None = accounts

    async def close(self) -> None:
        """Close the inner one, then the accounts; safe to call twice."""
        try:
            await self.inner.close()
        finally:
            accounts, self._accounts = self._accounts, None
            if accounts is not None:
                await accounts.close()


def metered(inner: Backend, home: Home, around: Callable[[Backend], Backend]) -> Backend:
    """Return a model of this machine with `around` it, its requests written down where a ledger exists already.

    It costs nothing, so a ledger that cannot be opened is told of and keeps nobody from an answer.
    """
    named = read_settings(home).value.database_url is not None
    if not installed("sqlalchemy") or not (named or home.database.is_file()):
        return around(inner)
    try:
        accounts = Accounts.open(home, actor="python")
    except (ResourceError, ConfigError) as error:
        _LOG.warning("requests are not written down: %s", error)
        return around(inner)
    return Accounted(around(Meter(inner, accounts.ledger, price_of=lambda _: FREE)), accounts)
