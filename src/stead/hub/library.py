"""The models that were added: one folder per model with its manifest, and links to its files.

Knows nothing about where models come from or what they hold. Layout: `models/refs/<source>/<name>@<rev>/`
in the data directory; files we copied or fetched by URL lie once in `models/blobs/sha256/`.
"""

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.errors import ConfigError, NotFound
from stead.core.paths import Home
from stead.hub.refs import Ref
from stead.hub.source import Owned

_VERSION = 1
_KIND = "model-ref"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One added model. `files` maps each name to {bytes, sha256, path: where it really lies}."""

    folder: Path
    name: str
    ref: Ref
    revision: str
    owned: Owned
    new: bool  # fetched by us, so removing it may free the source's cache too
    path: Path  # what a loader opens
    files: dict[str, dict[str, Any]]  # Any: int and str

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(int(f["bytes"]) for f in self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return {
            "name": self.name,
            "ref": self.ref.text,
            "source": self.ref.source,
            "revision": self.revision,
            "path": str(self.path),
            "owned": self.owned,
            "size_bytes": self.size_bytes,
            "files": len(self.files),
        }


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Hold the one lock of the library: adding, removing and collecting never overlap."""
    place = home.ensure().root / "models"
    place.mkdir(parents=True, exist_ok=True)
    with open(place / ".lock", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def entries(home: Home) -> list[Entry]:
    """Return every added model, the newest first; damaged folders are left out."""
    found = []
    for path in home.refs.glob(f"*/*/{MANIFEST}"):
        if not path.parent.name.startswith("."):
            entry = _read(path)
            if entry is not None:
                found.append((-path.stat().st_mtime_ns, entry.name, entry))
    return [entry for _, _, entry in sorted(found, key=lambda item: item[:2])]


def _read(path: Path) -> Entry | None:
    try:
        data = files.read_json(path)
        ref = Ref(data["source"], data["ref"], data["asked"])
        return Entry(
            folder=path.parent,
            name=str(data["name"]),
            ref=ref,
            revision=str(data["revision"]),
            owned=data["owned"],
            new=bool(data["new"]),
            path=Path(data["path"]) if data["path"] is not None else path.parent,
            files=dict(data["files"]),
        )
    except (NotFound, ValueError, KeyError, TypeError):  # cut by a crash of another program
        return None


def find(home: Home, name: str) -> Entry | None:
    """Return the newest added model that `name` means: its name, its ref, or either with `@revision`."""
    for entry in entries(home):
        spellings = (entry.name, entry.ref.text, entry.ref.name)
        if name in spellings:
            return entry
        plain, at, revision = name.rpartition("@")
        if at and plain in (*spellings, f"hf:{entry.ref.name}") and _is_at(entry, revision):
            return entry
    return None


def _is_at(entry: Entry, revision: str) -> bool:
    """Say whether an entry is at a revision: as it was asked for, or 6 digits of the exact one."""
    exact = len(revision) >= 6 and entry.revision.startswith(revision)
    return revision == entry.ref.revision or exact


def place(home: Home, ref: Ref, revision: str) -> Path:
    """Return the folder of a model at an exact revision; equal names of two paths stay apart."""
    where = hashlib.sha256(ref.name.encode()).hexdigest()[:8]
    name = ref.slug if ref.source == "huggingface" else f"{ref.slug}-{where}"
    return home.refs / ref.source / f"{name}@{revision[:12]}"


def add(home: Home, entry: Entry, links: dict[str, Path]) -> Entry:
    """Commit an entry: links and manifest into a hidden folder, then one rename. Call when `locked`.

    An equal entry is left as it is, so that its readers are not disturbed; another one at its place
    is replaced. Raises: ConfigError("name-taken").
    """
    for other in entries(home):
        same = (other.ref.source, other.ref.name) == (entry.ref.source, entry.ref.name)
        if other.name == entry.name and not same:
            raise ConfigError(
                "name-taken",
                f"the name {entry.name!r} belongs to {other.ref.text!r}",
                hint=f"stead model add {entry.ref.text} --name {entry.ref.slug}-2",
            )
    there = _read(entry.folder / MANIFEST)
    if there is not None and _record(there) | {"new": entry.new} == _record(entry):
        return there
    partial = entry.folder.parent / f".partial-{uuid.uuid4().hex[:12]}"
    partial.mkdir(parents=True)
    try:
        for name, target in links.items():
            link = partial / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        files.write_json(partial / MANIFEST, _record(entry))
        if entry.folder.exists():
            _retire(entry.folder)
        os.rename(partial, entry.folder)
        files.sync_folder(entry.folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return entry


def _record(entry: Entry) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "kind": _KIND,
        "name": entry.name,
        "source": entry.ref.source,
        "ref": entry.ref.name,
        "asked": entry.ref.revision,
        "revision": entry.revision,
        "owned": entry.owned,
        "new": entry.new,
        "path": None if entry.path == entry.folder else str(entry.path),
        "files": entry.files,
    }


def drop(entry: Entry) -> None:
    """Take an entry away, in one rename, then delete its links. Call when `locked`."""
    _retire(entry.folder)


def _retire(folder: Path) -> None:
    gone = folder.parent / f".gone-{uuid.uuid4().hex[:12]}"
    os.rename(folder, gone)
    files.sync_folder(folder.parent)
    shutil.rmtree(gone, ignore_errors=True)


def blob(home: Home, sha256: str) -> Path:
    """Return where the content store keeps a file."""
    return home.blobs / sha256[:2] / sha256


def collect(home: Home) -> int:
    """Delete blobs that no model needs, and leftovers of killed calls; return the freed bytes.

    Call when `locked`. Killed anywhere, no manifest points at a missing blob: they go last.
    """
    for left in home.refs.glob("*/.*"):
        shutil.rmtree(left, ignore_errors=True)
    needed = {
        str(f["sha256"]) for e in entries(home) if e.owned == "blobs" for f in e.files.values()
    }
    freed = 0
    for path in home.blobs.glob("*/*"):
        if path.name not in needed:
            freed += path.stat().st_size
            path.unlink()
    return freed
