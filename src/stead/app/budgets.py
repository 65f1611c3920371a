"""Budgets that outlive a process: a strategy with one counts in the data directory, like a server does.

Knows nothing about strategies but whether they have a budget.
"""

from stead.app.accounts import Accounts
from stead.config.strategy import Strategy
from stead.inference.backend import Backend
from stead.inference.wrapper import Wrapper


def has_budget(strategy: Strategy) -> bool:
    """Say whether a strategy limits what is spent over many requests."""
    limits = strategy.constraints
    return limits.daily_budget is not None or limits.monthly_budget is not None


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
