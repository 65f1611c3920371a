"""Which address a URL from outside may reach: strict parsing, every resolved address checked.

Knows nothing about HTTP. The connection must go to the address returned here, so that a second
look-up cannot give another one (DNS rebinding).
"""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from stead.core.errors import NotFound, UnsafeError

Place = Literal["local", "private", "public"]
Resolve = Callable[[str, int], list[str]]
_PORTS = {"http": 80, "https": 443}
_EXTRA = [  # not global although the standard library may say so
    ipaddress.ip_network(n)
    for n in ("100.64.0.0/10", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA = (
    "fd00:ec2::254",
    "100.100.100.200",
    "192.0.0.192",
)  # AWS, Alibaba, Oracle: not link-local
_METADATA_NAMES = ("metadata", "metadata.google.internal", "metadata.goog", "instance-data")
_INSIDE = (".local", ".lan", ".internal", ".home.arpa")


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL: its parts, and the one address to connect to."""

    scheme: str
    host: str
    port: int
    path: str
    address: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What two URLs must share for credentials to be sent to both."""
        return self.scheme, self.host, self.port


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of `host` from the system's resolver."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise NotFound("no-host", f"the host {host!r} cannot be found: {error}") from error
    return [str(entry[4][0]) for entry in found]


def check(url: str, *, allow_private: bool = False, resolver: Resolve = resolve) -> Target:
    """Parse `url`, resolve it once, and refuse it unless every address is public.

    With `allow_private`, loopback and private addresses are let through: for what the user of this
    machine typed. Raises: UnsafeError("bad-url" | "private-address"); NotFound("no-host").
    """
    if any(ord(c) <= 32 or ord(c) > 126 or c == "\\" for c in url):
        raise UnsafeError("bad-url", f"{url[:200]!r} holds characters that no URL has")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UnsafeError("bad-url", f"{url[:200]!r} is no URL: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise UnsafeError("bad-url", f"{url[:200]!r} is no plain http or https URL")
    host = parts.hostname
    used = _PORTS[parts.scheme] if port is None else port
    addresses = resolver(host, used)
    bad = [a for a in addresses if not is_public(a)]
    if bad and not allow_private:
        raise UnsafeError("private-address", f"{host!r} leads to {bad[0]}, which is not public")
    query = f"?{parts.query}" if parts.query else ""
    path = parts.path if parts.path else "/"
    return Target(parts.scheme, host, used, path + query, addresses[0])


def place_of(url: str) -> Place:
    """Say where a URL leads without asking the network; a name with a dot counts as public.

    Loopback is local; private and link-local networks, names without a dot and `.local`, `.lan`, `.internal`,
    `.home.arpa` are private (RFC 1918, 3927, 4193, 6762, 8375). What cannot be read is public.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return "public"
    host = "" if host is None else host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return "local"
    try:
        address = ipaddress.ip_address(host.split("%", maxsplit=1)[0])
    except ValueError:
        inside = host.endswith(_INSIDE) or (host != "" and "." not in host)
        return "private" if inside else "public"
    mapped = getattr(address, "ipv4_mapped", None)
    address = address if mapped is None else mapped
    if address.is_loopback or address.is_unspecified:
        return "local"
    is_tunnel = isinstance(address, ipaddress.IPv6Address) and (address.teredo or address.sixtofour)
    return "private" if address.is_private and not is_tunnel else "public"


def is_link_local(url: str) -> bool:
    """Say whether a URL names what answers on its own link alone: cloud providers' metadata above all (RFC 3927).

    Sees through every way to write an address that resolvers take (decimal, hexadecimal, octal, IPv6 around IPv4);
    names are compared with those that providers give their metadata.
    """
    host = urlsplit(url).hostname
    host = "" if host is None else host.rstrip(".").lower()
    try:
        found: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv4Address(
            socket.inet_aton(host)
        )
    except (OSError, UnicodeError):
        try:
            found = ipaddress.ip_address(host.split("%", maxsplit=1)[0])
        except ValueError:
            return host in _METADATA_NAMES
    if isinstance(found, ipaddress.IPv6Address):
        inside = (found.ipv4_mapped, found.sixtofour, _translated(found))
        found = next((one for one in inside if one is not None), found)
    return found.is_link_local or str(found) in _METADATA


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address within one of NAT64 (RFC 6052)."""
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def is_public(address: str) -> bool:
    """Say whether an address is on the public internet, also when wrapped in IPv6."""
    found = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    mapped = getattr(found, "ipv4_mapped", None)
    if mapped is not None:
        found = mapped
    inside = any(found.version == n.version and found in n for n in _EXTRA)
    return found.is_global and not found.is_multicast and not inside
