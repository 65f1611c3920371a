"""Single files: atomic writes, hashes, JSON, package data.

Knows nothing about what the bytes mean. The only place that writes a file by name; folders are
committed by `core/manifest`.
"""

import errno
import hashlib
import importlib.resources
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from stead.core.errors import ConfigError, NotFound, ResourceError

_CHUNK_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Open a hidden sibling for writing; on success fsync it and rename it over `path`.

    On any failure the sibling is removed and `path` is as it was: absent or complete.
    Raises: ResourceError("disk-full") when the device has no space, ("disk-error") when it fails.
    """
    partial = path.parent / f".{path.name}.partial-{uuid.uuid4().hex[:8]}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb", opener=lambda p, flags: os.open(p, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        raise trouble(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def clean(folder: Path) -> None:
    """Remove what killed writers of single files left here; only for who alone writes in the folder."""
    for left in folder.glob(".*.partial-*"):
        left.unlink(missing_ok=True)


def disk_full(path: Path, error: OSError) -> ResourceError:
    """Return the error for a full disk at `path`."""
    return ResourceError(
        "disk-full", f"no space left while writing {str(path)!r} ({error.strerror})", hint="df -h ."
    )


def trouble(path: Path, error: OSError) -> OSError | ResourceError:
    """Return the typed error for a disk that is full or fails, else the error itself."""
    if error.errno in _FULL:
        return disk_full(path, error)
    if error.errno == errno.EIO:
        return ResourceError(
            "disk-error",
            f"the disk failed while writing {str(path)!r} ({error.strerror})",
            hint="sudo dmesg | tail",
        )
    return error


def check_folder(path: Path) -> None:
    """Refuse a place where no folder can be made or written, before anything is spent on it.

    Raises: ConfigError("not-a-folder") below or at a file; ResourceError("not-writable").
    """
    here = path.absolute()
    while not here.exists() and here != here.parent:
        here = here.parent
    if not here.is_dir():
        raise ConfigError(
            "not-a-folder", f"{str(path)!r} can be no folder: {str(here)!r} is a file"
        )
    if not os.access(here, os.W_OK | os.X_OK):
        raise ResourceError("not-writable", f"{str(here)!r} may not be written by this user")


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises: as `check_folder`; ResourceError("no-folder")."""
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the folder {str(path)!r} cannot be made ({error.strerror})"
        raise ResourceError("no-folder", message) from error


def sync_folder(folder: Path) -> None:
    """Fsync a folder, so that a rename inside it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write `data` to `path` atomically."""
    with replacing(path, mode) as file:
        file.write(data)


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode(), mode)


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:  # Any: JSON values
    """Write `value` as indented JSON to `path` atomically; NaN is refused."""
    write_bytes(path, json_bytes(value), mode)


def json_bytes(value: Any) -> bytes:  # Any: JSON values
    """Return the bytes that `write_json` writes."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def read_json(path: Path) -> Any:  # Any: JSON values
    """Read a JSON file. Raises: NotFound("no-file"), ValueError when it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound("no-file", f"there is no file {str(path)!r}") from error


def canonical(value: Any) -> bytes:  # Any: JSON values
    """Return the one JSON spelling of `value` that is hashed: sorted keys, no spaces, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def hash_value(value: Any) -> str:  # Any: JSON values
    """Return the SHA-256 (hex) of a JSON value in its canonical spelling."""
    return hashlib.sha256(canonical(value)).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file, read in 1 MiB parts."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def package_text(package: str, name: str) -> str:
    """Return a text file that ships inside package `package`."""
    return (importlib.resources.files(package) / name).read_text(encoding="utf-8")


def publish(partial: Path, target: Path) -> None:
    """Fsync a finished file and rename it to its final name on the same file system."""
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, target)
    sync_folder(target.parent)
