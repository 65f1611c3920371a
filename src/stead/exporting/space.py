"""Refuse a write that the disk has no room for, before it begins.

Knows nothing about what is written.
"""

import shutil
from pathlib import Path

from stead.core.errors import ConfigError, ResourceError

_MARGIN_BYTES = 16 << 20  # file system overhead, the card and the manifest


def check(out: Path, need_bytes: int) -> None:
    """Check that `out` is free and that its disk has room for `need_bytes`.

    Raises: ConfigError("exists"), ResourceError("disk-full") with both numbers.
    """
    if out.exists():
        raise ConfigError("exists", f"{str(out)!r} exists already; nothing is overwritten")
    parent = out.absolute().parent
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if free < need_bytes + _MARGIN_BYTES:
        raise ResourceError(
            "disk-full",
            f"{str(out)!r} needs {need_bytes:,} bytes, its disk has {free:,} free",
            hint=f"df -h {parent}",
            need_bytes=need_bytes,
            free_bytes=free,
        )
