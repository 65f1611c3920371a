"""One-time login links and the sessions they are exchanged for, as small files of the data directory.

Knows nothing about cookies or users' rights. Only hashes of the secrets are on disk; removing a file ends
what it stands for, in every process at once, and sessions outlive the server.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stead.core import files
from stead.core.errors import NotFound
from stead.core.paths import Home

LINK_S = 900.0  # a link that nobody opens is worth nothing after a quarter of an hour
SESSION_S = 30 * 86_400.0
_KEPT = 1000  # sessions; the oldest goes


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its holder has it: the cookie's value, and the token that changes must carry."""

    token: str
    csrf: str
    user: str
    expires_at: float


class Sessions:
    """The links and sessions of a data directory. Its methods touch the disk: call them in a thread."""

    def __init__(self, home: Home, clock: Callable[[], float] = time.time) -> None:
        self._links = home.state / "logins"
        self._sessions = home.state / "sessions"
        self._clock = clock

    def link(self, user: str, lasts_s: float = LINK_S) -> str:
        """Return a code that makes one session for a user, once."""
        self._sweep(self._links)
        return self._write(self._links, user, lasts_s)

    def redeem(self, code: str) -> Session | None:
        """Exchange a code for a session; None: unknown, used or too old."""
        path = self._links / _name(code)
        user = self._read(path)
        if user is None:
            return None
        try:
            path.unlink()  # whoever removes it has it: it cannot be used twice
        except FileNotFoundError:
            return None
        return self.open(user)

    def open(self, user: str) -> Session:
        """Begin a session."""
        self._sweep(self._sessions)
        token = self._write(self._sessions, user, SESSION_S)
        return Session(token, csrf_of(token), user, self._clock() + SESSION_S)

    def find(self, token: str) -> str | None:
        """Return whose session it is; None: none, ended or too old."""
        return self._read(self._sessions / _name(token))

    def close(self, token: str) -> None:
        """End a session; one that is not there is no error."""
        (self._sessions / _name(token)).unlink(missing_ok=True)

    def close_all(self, user: str) -> None:
        """End every session and link of a user."""
        for folder in (self._links, self._sessions):
            for path in folder.glob("*.json"):
                if self._read(path) == user:
                    path.unlink(missing_ok=True)

    def _write(self, folder: Path, user: str, lasts_s: float) -> str:
        token = secrets.token_urlsafe(32)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = {"user": user, "expires_at": self._clock() + lasts_s}
        files.write_json(folder / _name(token), told, 0o600)
        return token

    def _read(self, path: Path) -> str | None:
        try:
            found = files.read_json(path)
            user, expires = str(found["user"]), float(found["expires_at"])
        except (NotFound, ValueError, KeyError, TypeError, OSError):
            return None
        return user if self._clock() < expires else None

    def _sweep(self, folder: Path) -> None:
        found = sorted(folder.glob("*.json"), key=_age) if folder.is_dir() else []
        kept = [path for path in found if self._read(path) is not None]
        for path in [*(p for p in found if p not in kept), *kept[: max(0, len(kept) - _KEPT)]]:
            path.unlink(missing_ok=True)


def csrf_of(token: str) -> str:
    """Return what changes within a session must carry; it tells nothing of the session's token."""
    return hmac.new(token.encode(), b"stead csrf", hashlib.sha256).hexdigest()


def _name(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest() + ".json"


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
