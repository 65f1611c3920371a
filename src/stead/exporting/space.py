"""Refuse a write that the disk has no room for, or whose place is taken, before it begins.

Knows nothing about what is written.
"""

from pathlib import Path

from stead.core import room
from stead.core.errors import ConfigError

_MARGIN_BYTES = 16 << 20  # file system overhead, the card and the manifest


def check(out: Path, need_bytes: int) -> None:
    """Check that `out` is free and that its disk has room for `need_bytes`.

    Raises: ConfigError("exists"), ResourceError("disk-full") with both numbers.
    """
    if out.exists():
        raise ConfigError("exists", f"{str(out)!r} exists already; nothing is overwritten")
    room.require(out.parent, need_bytes, what=out.name, margin_bytes=_MARGIN_BYTES)
