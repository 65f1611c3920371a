"""What differs between endpoints of one protocol: where its routes lie, what their bodies may hold, waits.

Knows nothing about vendors or sockets.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import msgspec

_VERSIONED = re.compile(r"/v\d[\w.]*(/[\w-]+)*$")
_NUMBER = re.compile(r"\d+(\.\d*)?")
_LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Address:
    """`url` and what stands there in place of the routes' own `/v1`."""

    url: str
    version: str = "/v1"

    @classmethod
    def of(cls, url: str, version: str | None = None) -> "Address":
        """Read an address as people write it: with or without its version.

        `https://h`, `https://h/v1` and `https://h/openai/v1` lead to `…/v1/chat/completions`; a path with
        another version (`/api/v3`, `/v1beta/openai`) is complete, as the vendor's client takes it.
        """
        plain = url.rstrip("/")
        if version is not None:
            return cls(plain.removesuffix(version) if version else plain, version)
        if plain.endswith("/v1"):
            return cls(plain.removesuffix("/v1"))
        path = plain.partition("://")[2].partition("/")[2]
        return cls(plain, "" if _VERSIONED.search(f"/{path}") else "/v1")

    def to(self, path: str) -> str:
        """Return the URL of a route; a version that both the address and the route name stands once."""
        _, slash, last = self.url.partition("://")[2].rpartition("/")
        if slash and path.startswith(f"/{last}/"):
            return self.url + path[len(last) + 1 :]
        if self.version != "/v1" and path.startswith("/v1/"):
            path = self.version + path.removeprefix("/v1")
        return self.url + path


def without(body: bytes, fields: Sequence[str]) -> bytes:
    """Return a JSON object's bytes without some of its fields."""
    if not any(field.encode() in body for field in fields):
        return body
    found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({k: v for k, v in found.items() if k not in fields})


def retry_after(headers: Mapping[str, str]) -> str | None:
    """Return how long an answer asks to wait, in seconds as text; None when it says nothing usable.

    `Retry-After-Ms` comes before `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3); a date is
    compared with the answer's own `Date`, so that no clocks need to agree. A past date is 0, an hour the most.
    """
    wait_s = _number(headers.get("Retry-After-Ms"), 1e-3)
    said = headers.get("Retry-After")
    if wait_s is None:
        wait_s = _number(said, 1.0)
    if wait_s is None and said is not None:
        wait_s = _until(said, headers.get("Date"))
    return None if wait_s is None else f"{min(wait_s, _LONGEST_S):.6f}"


def _number(text: str | None, unit_s: float) -> float | None:
    if text is None or len(text) > 40 or not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text) * unit_s
    return value if math.isfinite(value) else None


def _until(text: str, now: str | None) -> float | None:
    try:
        there = parsedate_to_datetime(text)
        here = parsedate_to_datetime(now) if now is not None else None
        return None if here is None else max(0.0, (there - here).total_seconds())
    except (ValueError, TypeError):  # no date, or one of the two without a zone
        return None
