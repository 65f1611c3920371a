"""Is there room on the disk: asked before bytes are moved, not found out after.

Knows nothing about what the bytes are.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from stead.core.errors import ResourceError

MARGIN_BYTES = 64 << 20  # what journals, indexes and neighbours take meanwhile


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the file system that holds `folder`, which need not exist yet."""
    place = folder.absolute()
    while place != place.parent:
        with suppress(OSError, ValueError):  # not there, not ours to look at, or no name at all
            return shutil.disk_usage(place).free
        place = place.parent
    return shutil.disk_usage(place).free


def require(
    folder: Path, needed_bytes: int, *, what: str, margin_bytes: int = MARGIN_BYTES
) -> None:
    """Refuse when `needed_bytes` and the margin do not fit.

    Raises: ResourceError("disk-full") stating needed and available.
    """
    free = free_bytes(folder)
    if needed_bytes + margin_bytes > free:
        raise ResourceError(
            "disk-full",
            f"{what!r} needs {needed_bytes} bytes and a margin of {margin_bytes} in "
            f"{str(folder)!r}; {free} are free",
            hint=f"df -h {folder}",
            needed=needed_bytes,
            available=free,
        )
