"""Acquire a model: list, check the disk, fetch, check the hashes, and keep it under a name.

Knows nothing about protocols (a source is passed in) or about what a model must hold. Nothing shows
in the library before every hash is right.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

from stead.core import files, room
from stead.core.errors import ModelError
from stead.core.events import Emit, Saved, ignore
from stead.core.paths import Home
from stead.hub import fingerprint, library
from stead.hub.library import Entry
from stead.hub.refs import Ref
from stead.hub.source import Fetched, Source

_PART_BYTES = 8 << 20


def acquire(
    ref: Ref,
    source: Source,
    home: Home,
    *,
    name: str | None = None,
    copy: bool = False,
    emit: Emit = ignore,
) -> Entry:
    """Bring the model here and add it to the library; with `copy`, its files into the content store.

    Raises: what the source raises; ResourceError("disk-full"); ConfigError("name-taken").
    """
    listing = source.listing(ref)
    if not listing.files:
        raise ModelError("empty", f"{ref.text!r} holds no file that a model needs")
    fetched = source.fetch(ref, listing, home, emit)
    with library.locked(home):
        records = {n: _record(p, home, emit) for n, p in fetched.paths.items()}
        if copy or fetched.owned == "blobs":
            fetched = _into_blobs(fetched, records, home, emit)
        entry = _entry(ref, listing.revision, records, fetched, home, name)
        links = {} if fetched.folder is not None else fetched.paths
        entry = library.add(home, entry, links)
    emit(Saved(stage="add", path=str(entry.path), what="model"))
    return entry


def _record(path: Path, home: Home, emit: Emit) -> dict[str, Any]:
    return {
        "bytes": path.stat().st_size,
        "sha256": fingerprint.of(path, home, emit),
        "path": str(path),
    }


def _entry(
    ref: Ref,
    revision: str,
    records: dict[str, dict[str, Any]],
    fetched: Fetched,
    home: Home,
    name: str | None,
) -> Entry:
    folder = library.place(home, ref, revision)
    return Entry(
        folder=folder,
        name=_name(ref) if name is None else name,
        ref=ref,
        revision=revision,
        owned=fetched.owned,
        new=fetched.new,
        path=folder if fetched.folder is None else fetched.folder,
        files=records,
    )


def _name(ref: Ref) -> str:
    return ref.name if ref.source == "huggingface" else ref.slug


def _into_blobs(
    fetched: Fetched, records: dict[str, dict[str, Any]], home: Home, emit: Emit
) -> Fetched:
    """Put every file into the content store once; files that we staged are moved, others copied."""
    staged = fetched.owned == "blobs"
    absent = {n: r for n, r in records.items() if not library.blob(home, r["sha256"]).exists()}
    if not staged:
        room.require(home.blobs, sum(r["bytes"] for r in absent.values()), what="the copy")
    paths = {}
    for name, source in fetched.paths.items():
        target = library.blob(home, records[name]["sha256"])
        if staged:
            _move(source, target)
        elif name in absent:
            _copy(source, target, records[name]["sha256"])
        records[name]["path"] = str(target)
        paths[name] = target
    return Fetched(paths, "blobs", new=True)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.chmod(0o444)
    files.publish(source, target)


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy while hashing. Raises: ModelError("changed") when the file changed meanwhile."""
    digest = hashlib.sha256()
    with open(source, "rb") as reader, files.replacing(target, 0o444) as writer:
        while part := reader.read(_PART_BYTES):
            digest.update(part)
            writer.write(part)
        if digest.hexdigest() != sha256:
            raise ModelError("changed", f"{str(source)!r} changed while it was copied")


def problems(entry: Entry, emit: Emit = ignore) -> list[dict[str, Any]]:
    """Hash every file of an entry again; return what is wrong, with both hashes."""
    found = []
    for name, record in entry.files.items():
        path = Path(record["path"])
        if not os.path.lexists(path) or not path.is_file():
            found.append({"file": name, "path": str(path), "problem": "missing"})
            continue
        got = fingerprint.fresh(path, emit)
        if got != record["sha256"]:
            wanted = record["sha256"]
            found.append(
                {
                    "file": name,
                    "path": str(path),
                    "problem": "changed",
                    "expected": wanted,
                    "found": got,
                }
            )
    return found
