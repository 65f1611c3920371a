"""Strategies that people write here: checked whole, then kept in the data directory.

Knows nothing about HTTP. The file of another strategy is never touched.
"""

from stead.app.strategy_library import environment_of, read_file
from stead.config import load
from stead.core import files
from stead.core.errors import ConfigError
from stead.core.paths import Home, safe_name


def save(name: str, text: str, home: Home) -> None:
    """Write the strategy `name`; a text that is not valid changes nothing.

    Raises: UnsafeError("invalid-name"); ConfigError("other-name") unless the text holds that one strategy, and what
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
    draft = home.cache / "strategies" / path.name
    files.write_text(draft, text)
    try:
        read_file(draft, environment_of(home))
    finally:
        draft.unlink(missing_ok=True)
    files.write_text(path, text, 0o600)
