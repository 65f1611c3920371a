"""Who may ask: the Host, the Origin and the kind of body, judged from the headers alone.

Knows nothing about routes' work. Refusals come before routing; nothing is ever echoed to a browser.
"""

import ipaddress
import re
from collections.abc import Iterable

from stead.core.errors import SteadError
from stead.serving.settings import Settings
from stead.wire.dialect import RequestRefused

Headers = Iterable[tuple[bytes, bytes]]

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::\d{1,5})?")
_HEADER_COUNT = 100
_HEADER_BYTES = 32 * 1024


class Head:
    """The headers that matter, read once. Raises: RequestRefused 431 for too many, 400 for two Hosts."""

    __slots__ = (
        "anthropic", "api_key", "authorization", "host", "length", "origin", "site", "strict", "tags", "trace",
        "type",
    )  # fmt: skip

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        found = dict(headers)
        self.host = found.get(b"host", b"")
        self.type = found.get(b"content-type", b"")
        self.authorization = found.get(b"authorization", b"")
        self.api_key = found.get(b"x-api-key", b"")
        self.trace = found.get(b"traceparent", b"")
        self.anthropic = b"anthropic-version" in found  # which protocol a route of both is asked in
        self.tags = found.get(b"x-stead-tags", b"")
        self.strict = found.get(b"x-stead-strict", b"") in (b"true", b"1")
        self.origin = found.get(b"origin", b"")
        self.site = found.get(b"sec-fetch-site", b"")
        length = found.get(b"content-length", b"")
        self.length = int(length) if length.isdigit() else 0
        if sum(name == b"host" for name, _ in headers) > 1:
            raise refused(400, "bad-host", "the request names two hosts")
        size = sum(len(name) + len(value) for name, value in headers)
        if size > _HEADER_BYTES or len(headers) > _HEADER_COUNT:
            raise refused(431, "headers-too-large", f"{len(headers)} headers, {size} bytes")


def refused(status: int, code: str, message: str, **details: str) -> SteadError:
    """Return a refusal with an HTTP status of its own."""
    error = RequestRefused(code, message)
    error.details.update(details, status=status)
    return error


def check_host(head: Head, settings: Settings) -> None:
    """Refuse a Host that is not this server's: a rebound name must not reach it.

    Raises: RequestRefused 400 for none or nonsense, 421 for a foreign one.
    """
    text = head.host.decode("latin-1").lower()
    found = _HOST.fullmatch(text)
    if found is None:
        raise refused(400, "bad-host", f"{text[:100]!r} is no host name")
    name = found["name"]
    if name in settings.hosts or (settings.any_address and _is_address(name)):
        return
    raise refused(421, "foreign-host", f"{name!r} is not served here")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def check_origin(head: Head) -> None:
    """Refuse a page of another origin. Raises: RequestRefused 403."""
    if head.site == b"cross-site":
        raise refused(403, "foreign-origin", "pages of other sites may not ask")
    if head.origin and head.origin.lower() not in (b"http://" + head.host, b"https://" + head.host):
        origin = head.origin[:100].decode("latin-1")
        raise refused(403, "foreign-origin", f"pages of {origin!r} may not ask")


def check_body_head(head: Head, settings: Settings) -> None:
    """Refuse a body by its headers. Raises: RequestRefused 413 or 415.

    Only JSON's own type is taken: a browser cannot send it across origins without asking first.
    """
    if head.length > settings.body_limit_bytes:
        raise too_large(settings.body_limit_bytes)
    if head.type.partition(b";")[0].strip().lower() != b"application/json":
        given = head.type[:100].decode("latin-1")
        raise refused(
            415, "unsupported-media-type", f"the body is {given!r}, not 'application/json'"
        )


def too_large(limit_bytes: int) -> SteadError:
    """Return the refusal of a body over the limit."""
    return refused(413, "body-too-large", f"the body has more than {limit_bytes} bytes")
