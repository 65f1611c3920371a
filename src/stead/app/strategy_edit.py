"""Strategies that people write here: checked whole, then kept in the data directory.

Knows nothing about HTTP. The file of another strategy is never touched. Who may write one may name any host that
models are asked on, this machine's and the network's too; never what answers on its own link alone, and never a URL
with a password in it. Whoever may edit files on this machine is not asked.
"""

from typing import Any
from urllib.parse import urlsplit

from stead.app.strategy_library import environment_of, read_file
from stead.config import load
from stead.core import address, files
from stead.core.errors import ConfigError, UnsafeError
from stead.core.paths import Home, safe_name


def save(name: str, text: str, home: Home) -> None:
    """Write the strategy `name`; a text that is not valid changes nothing.

    Raises: UnsafeError("invalid-name", "forbidden-address"); ConfigError("other-name") unless the text holds that one strategy, and what
    reading raises.
    """
    folder = home.ensure().root / "strategies"
    path = folder / f"{safe_name(name)}.yaml"
    written = load.parse_yaml(text, path.name).data.get("strategies")
    names = (
        [s.get("name") for s in written if isinstance(s, dict)] if isinstance(written, list) else []
    )
    if names != [name]:
        raise ConfigError(
            "other-name", f"the text holds {names!r}, not the one strategy {name!r}", param="yaml"
        )
    for url in urls(written):
        check_address(url)
    draft = home.cache / "strategies" / path.name
    files.write_text(draft, text)
    try:
        read_file(draft, environment_of(home))
    except ConfigError as error:  # the person knows no draft
        words = error.message.replace(str(draft), path.name)
        raise ConfigError(error.code, words, hint=error.hint, **error.details) from error
    finally:
        draft.unlink(missing_ok=True)
    files.write_text(path, text, 0o600)


def addresses(name: str, home: Home) -> list[str]:
    """Return the URLs of a strategy of one's own; none when there is no such file."""
    path = home.root / "strategies" / f"{safe_name(name)}.yaml"
    return urls(load.read(path).data) if path.is_file() else []


def urls(value: Any) -> list[str]:  # Any: JSON values
    """Return every `base_url` below a value."""
    if isinstance(value, list):
        return [url for one in value for url in urls(one)]
    if not isinstance(value, dict):
        return []
    found = [value["base_url"]] if isinstance(value.get("base_url"), str) else []
    return found + [url for one in value.values() for url in urls(one)]


def check_address(url: str) -> None:
    """Refuse an address that no provider has. Raises: UnsafeError("forbidden-address")."""
    try:
        is_bad = "@" in urlsplit(url).netloc or "\\" in url or address.is_link_local(url)
    except ValueError:
        is_bad = True
    if is_bad:
        raise UnsafeError(
            "forbidden-address", f"no model is asked at {url[:200]!r}: that is no provider's address", param="yaml",
        )  # fmt: skip
