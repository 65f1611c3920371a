"""Names for requests and records: unique everywhere, cheap to make, not secret.

Knows nothing about what is named. A system call per name would cost more than the rest of a request's
bookkeeping, so a process draws 64 random bits once and counts on from them.
"""

import itertools
import os
import secrets

_next = itertools.count().__next__
_start = secrets.token_hex(8)


def _renew() -> None:
    global _start  # noqa: PLW0603 - a forked child must not name as its parent does
    _start = secrets.token_hex(8)


os.register_at_fork(after_in_child=_renew)


def new_id() -> str:
    """Return 32 hexadecimal digits: 16 of this process, 16 counted."""
    return f"{_start}{_next():016x}"
