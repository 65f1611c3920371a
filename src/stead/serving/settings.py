"""What a server is told: who may ask, and how much.

Knows nothing about requests. Loopback needs no key; any other address does.
"""

import ipaddress
from dataclasses import dataclass

from stead.core.errors import ConfigError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class Settings:
    """The limits of a server; times in seconds, sizes in bytes.

    `hosts` are the names a request's Host may have; `any_address` also allows every literal address,
    which no rebound name can be.
    """

    api_keys: tuple[str, ...] = ()
    hosts: frozenset[str] = LOOPBACK_NAMES
    any_address: bool = False
    body_limit_bytes: int = 32 * 2**20
    body_wait_s: float = 30.0
    deadline_s: float = 600.0
    concurrency: int = 512
    queue: int = 512
    queue_wait_s: float = 30.0
    first_event_s: float = 15.0
    file_limit_bytes: int = 200 * 2**20
    batch_parallel: int = 4
    batch_limit: int = 50_000  # requests in one batch

    @property
    def public_status(self) -> str:
        """Say who may ask, for the banner."""
        return "with an API key" if self.api_keys else "without a key (loopback only)"


def is_loopback(host: str) -> bool:
    """Say whether an address to listen on can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def for_address(
    host: str,
    *,
    api_keys: tuple[str, ...] = (),
    allowed_hosts: tuple[str, ...] = (),
    keyed: bool = False,
    behind_proxy: bool = False,
) -> Settings:
    """Return the settings of a server that listens on `host`; `keyed`: keys are kept elsewhere.

    Raises: ConfigError("no-key") for an address that others can reach, itself or through a proxy, unless there
    is a key.
    """
    if (behind_proxy or not is_loopback(host)) and not api_keys and not keyed:
        way = " through the proxy" if behind_proxy else ""
        raise ConfigError(
            "no-key",
            f"{host!r} can be reached by others{way}, and no API key is set",
            hint="export STEAD_API_KEY=$(openssl rand -hex 32)",
        )
    names = {n.lower() for n in (*LOOPBACK_NAMES, *allowed_hosts, _literal(host))}
    wildcard = host in {"0.0.0.0", "::"}  # noqa: S104 - recognized, not bound
    return Settings(api_keys=api_keys, hosts=frozenset(names), any_address=wildcard)


def _literal(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
