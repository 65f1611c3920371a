"""The vendors by name: make one, list them, and say which can be asked now.

Knows nothing about a single vendor: their facts are rows of `vendors.yaml`.
"""

import os
from collections.abc import Mapping

from stead.core.secret import Secret
from stead.inference.backends.vendor import Vendor
from stead.inference.vendor_rows import rows


def vendor(
    name: str,
    *,
    api_key: str | Secret | None = None,
    base_url: str | None = None,
    options: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Vendor:
    """Return a vendor's Backend.

    Raises: ConfigError("unknown-vendor" | "bad-url" | "no-url"), UnsafeError("key-in-clear"). A missing key
    raises nothing here: see `Vendor.unavailable`.
    """
    return Vendor(
        name, api_key=api_key, base_url=base_url, options=options, environment=environment
    )


def availability(environment: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Return for every vendor why it cannot be asked with this environment, or None."""
    env = os.environ if environment is None else environment
    return {name: _reason(name, env) for name in rows()}


def _reason(name: str, env: Mapping[str, str]) -> str | None:
    facts = rows()[name]
    if facts.url is None:
        return "it has no address of its own"
    if not facts.needs_key or any(env.get(variable) for variable in facts.keys):
        return None
    return f"{facts.keys[0]} is not set"
