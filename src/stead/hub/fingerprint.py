"""Hashes of large files, computed once: remembered by size, time and inode in the data directory.

Knows nothing about models. Safe to delete; a file that changed is hashed again.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from stead.core import files
from stead.core.errors import NotFound, ResourceError
from stead.core.events import Emit, Progress, Started, ignore
from stead.core.paths import Home

STAGE = "hash"
_PART_BYTES = 8 << 20


def of(path: Path, home: Home, emit: Emit = ignore) -> str:
    """Return the SHA-256 of a file, from memory when size, time and inode are as they were."""
    status = path.stat()
    seen = [status.st_size, status.st_mtime_ns, status.st_ino]
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()
    note = home.cache / "system" / "hashes" / f"{name}.json"
    with suppress(NotFound, ValueError, TypeError, KeyError):  # a damaged note is no note
        known = files.read_json(note)
        if known["seen"] == seen:
            return str(known["sha256"])
    digest = fresh(path, emit)
    with suppress(OSError, ResourceError):  # a read-only data directory only costs the memory
        home.ensure()
        files.write_json(note, {"path": str(path), "seen": seen, "sha256": digest})
    return digest


def fresh(path: Path, emit: Emit = ignore) -> str:
    """Return the SHA-256 of a file as it is on disk, telling the progress in bytes."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    large = size > _PART_BYTES
    if large:
        emit(Started(stage=STAGE, total=size, unit="byte", info={"file": path.name}))
    with open(path, "rb") as file:
        done = 0
        while part := file.read(_PART_BYTES):
            digest.update(part)
            done += len(part)
            if large:
                emit(Progress(stage=STAGE, done=done))
    return digest.hexdigest()
