"""Accounts that are closed with the Backend that they keep the books of.

Knows nothing about strategies or what is counted.
"""

from stead.app.accounts import Accounts
from stead.inference.backend import Backend
from stead.inference.wrapper import Wrapper


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
