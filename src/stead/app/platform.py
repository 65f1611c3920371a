"""What the platform's surfaces work with, opened together: store, jobs, accounts, people, models.

Knows nothing about HTTP or pages. Whoever opens it closes it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from stead.app.accounts import Accounts
from stead.app.identity import Identities
from stead.app.jobs import Jobs
from stead.app.machine import Machine
from stead.app.requests import Requests
from stead.app.served import Served
from stead.app.sessions import Sessions
from stead.core.paths import Home
from stead.store.audit import Audit
from stead.store.stores import Stores
from stead.store.users import Users


@dataclass(frozen=True, slots=True)
class Platform:
    """Everything that routes need. `served` is what `/v1` answers for, None without models."""

    home: Home
    accounts: Accounts
    stores: Stores
    jobs: Jobs
    users: Users
    audit: Audit
    identities: Identities
    machine: Machine
    requests: Requests = field(default_factory=Requests)
    served: Served | None = None
    clock: Callable[[], float] = time.time

    @classmethod
    def of(
        cls,
        home: Home,
        accounts: Accounts,
        *,
        served: Served | None = None,
        is_open: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> "Platform":
        """Put together what stands on an open database; `is_open`: nobody is asked for a token."""
        database = accounts.database
        stores, users = Stores.of(database), Users(database, clock)
        identities = Identities(
            users, accounts.keys, accounts.access, Sessions(home, clock), is_open=is_open
        )
        return cls(
            home, accounts, stores, Jobs(stores, home, clock), users, Audit(database, clock),
            identities, Machine(home), served=served, clock=clock,
        )  # fmt: skip
