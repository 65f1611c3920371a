"""Commit a folder so that it is either complete and verified, or not there.

Knows nothing about what the files hold. Protocol (RELIABILITY decision 10): write into a hidden
partial folder, fsync each file, write `manifest.json` with sizes and hashes last, rename, fsync the
parent. Nothing is overwritten; a loader takes the newest folder that verifies.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.errors import CheckpointError

NAME = "manifest.json"
_THREADS = 4
_LARGE_BYTES = 8 << 20  # below, threads cost more than they save
_VERSION = 2  # 1: without a seal; still read


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a committed folder holds: kind, facts about it, and size and SHA-256 of each file.

    On disk a `seal`, the SHA-256 of all of it, shows every changed bit of the manifest itself.
    """

    kind: str
    meta: dict[str, Any] = field(default_factory=dict)  # Any: JSON values
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> {bytes, sha256}

    @property
    def hash(self) -> str:
        """SHA-256 over kind and file hashes: the identity of the content, without `meta`."""
        return files.hash_value(
            {"kind": self.kind, "files": {n: f["sha256"] for n, f in self.files.items()}}
        )


def commit(
    target: Path,
    kind: str,
    fill: Callable[[Path], Mapping[str, str] | None],
    meta: dict[str, Any] | None = None,
) -> Manifest:
    """Let `fill` write files into a hidden folder, then publish it as `target` in one rename.

    What `fill` returns are files that `write_hashed` wrote, with their hashes; the others are flushed and read again.
    Raises: CheckpointError("exists") when `target` is there already; ResourceError("disk-full" |
    "disk-error"). On failure nothing of the partial folder stays.
    """
    if target.exists():
        raise CheckpointError("exists", f"{str(target)!r} exists already; nothing is overwritten")
    partial = target.parent / f".partial-{uuid.uuid4().hex[:12]}"
    try:
        partial.mkdir(parents=True)
        known = fill(partial)
        manifest = Manifest(kind=kind, meta=meta or {}, files=_entries(partial, known or {}))
        _write_last(partial, manifest)
        os.rename(partial, target)
        files.sync_folder(target.parent)
    except OSError as error:
        raise files.trouble(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise CheckpointError("not-plain", f"{str(path)!r} is not a plain file")
        if path.is_file() and path.relative_to(folder).as_posix() != NAME:
            yield path


def write_hashed(path: Path, parts: Sequence[memoryview | bytes]) -> str:
    """Write and flush a new file while another thread hashes the same bytes; return their SHA-256.

    The hash is that of the bytes that were meant: a file that the disk keeps in another way does not verify.
    """
    with ThreadPoolExecutor(1, "hash") as pool:
        digest = pool.submit(_hash_parts, parts)
        with open(path, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        return digest.result()


def _hash_parts(parts: Sequence[memoryview | bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def _entries(folder: Path, known: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Fsync and hash every file; what the disk is waited for, the processor hashes meanwhile."""
    named = {path.relative_to(folder).as_posix(): path for path in _walk(folder)}
    paths = [path for name, path in named.items() if name not in known]
    digests = dict(zip(paths, _digests(paths, lambda: _sync(paths)), strict=True))
    for sub in sorted(p for p in folder.rglob("*") if p.is_dir()):
        files.sync_folder(sub)
    return {
        name: {
            "bytes": path.stat().st_size,
            "sha256": known[name] if name in known else digests[path],
        }
        for name, path in named.items()
    }


def _sync(paths: Sequence[Path]) -> None:
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _digests(paths: Sequence[Path], beside: Callable[[], None] = lambda: None) -> list[str]:
    """Return the SHA-256 of each file; large ones side by side, because hashing frees the lock.

    `beside` is done by this thread while others hash.
    """
    if sum(path.stat().st_size for path in paths) < _LARGE_BYTES:
        beside()
        return [files.hash_file(path) for path in paths]
    with ThreadPoolExecutor(_THREADS, "hash") as pool:
        found = pool.map(files.hash_file, paths)
        beside()
        return list(found)


def _write_last(folder: Path, manifest: Manifest) -> None:
    data = {
        "version": _VERSION,
        "kind": manifest.kind,
        "hash": manifest.hash,
        "meta": manifest.meta,
        "files": manifest.files,
    }
    files.write_json(folder / NAME, data | {"seal": files.hash_value(data)})
    files.sync_folder(folder)


def read(folder: Path, kind: str | None = None) -> Manifest:
    """Read a folder's manifest without checking its files.

    Raises: CheckpointError("no-manifest" | "bad-manifest" | "wrong-kind").
    """
    path = folder / NAME
    if not path.is_file():
        raise CheckpointError("no-manifest", f"{str(folder)!r} has no {NAME}")
    try:
        data = files.read_json(path)
        manifest = Manifest(kind=data["kind"], meta=data["meta"], files=data["files"])
        if data["version"] not in (1, _VERSION) or data["hash"] != manifest.hash:
            raise ValueError("hash or version differs")
        if data["version"] == _VERSION:
            _check_seal(path, data)
        for name, entry in manifest.files.items():
            if type(entry["bytes"]) is not int:
                raise ValueError(f"the entry of {name!r} has no size")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError("bad-manifest", f"{str(path)!r} is damaged: {error}") from error
    if kind is not None and manifest.kind != kind:
        raise CheckpointError(
            "wrong-kind", f"{str(folder)!r} holds a {manifest.kind!r}, not a {kind!r}"
        )
    return manifest


def _check_seal(path: Path, data: dict[str, Any]) -> None:
    """Refuse a manifest of which any byte was changed or is missing. Raises: ValueError."""
    if path.read_bytes() != files.json_bytes(data):
        raise ValueError("its bytes are not as they were written")
    if data.pop("seal") != files.hash_value(data):
        raise ValueError("it does not bear its own seal: something in it was changed")


def verify(folder: Path, kind: str | None = None) -> Manifest:
    """Read the manifest and check each file's presence, size and hash; refuse strangers.

    Raises: CheckpointError with the file's name: "missing-file", "changed-file", "foreign-file".
    """
    manifest = read(folder, kind)
    present = {p.relative_to(folder).as_posix(): p for p in _walk(folder)}
    for name in manifest.files:
        if name not in present:
            raise CheckpointError("missing-file", f"{str(folder / name)!r} is missing")
    listed = {present.pop(name): entry for name, entry in manifest.files.items()}
    for (path, entry), digest in zip(listed.items(), _digests(list(listed)), strict=True):
        if path.stat().st_size != entry["bytes"] or digest != entry["sha256"]:
            raise CheckpointError(
                "changed-file", f"{str(path)!r} differs from its manifest (size or SHA-256)"
            )
    if present:
        raise CheckpointError("foreign-file", f"{str(folder / min(present))!r} is not listed")
    return manifest


def newest(
    parent: Path,
    prefix: str,
    kind: str,
    rejected: Callable[[Path, CheckpointError], None],
    check: Callable[[Path, Manifest], None] = lambda folder, manifest: None,
) -> Path | None:
    """Return the last folder (by name) that verifies, walking back over damaged ones.

    `check` may refuse a folder that verifies by raising CheckpointError. `rejected` is called for
    each folder that was passed over, so that none is passed silently.
    """
    if not parent.is_dir():
        return None
    for folder in sorted(parent.glob(prefix + "*"), reverse=True):
        try:
            check(folder, verify(folder, kind))
        except CheckpointError as error:
            rejected(folder, error)
        else:
            return folder
    return None
