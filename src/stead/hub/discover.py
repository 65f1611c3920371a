"""Find the models that are on this machine already: in folders, and in other tools' stores.

Knows nothing about the library; nothing is opened but file names and Ollama's small manifests.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stead.core import files
from stead.core.errors import NotFound
from stead.hub import adapter_folder, model_folder

Kind = Literal["model", "adapter", "gguf", "sbs"]
SizeClass = Literal["small", "medium", "large", "huge"]
_DEPTH = 6  # a hub cache has its files four folders down
_GIB = 1 << 30
_OLLAMA_MODEL = "application/vnd.ollama.image.model"


@dataclass(frozen=True, slots=True)
class Local:
    """One model that was found: where, what kind, how large, and by which store."""

    name: str
    path: Path
    kind: Kind
    size_bytes: int
    store: str

    @property
    def size_class(self) -> SizeClass:
        """By bytes of weights: below 1, 8 and 40 GiB, and above."""
        bounds: list[tuple[int, SizeClass]] = [(1, "small"), (8, "medium"), (40, "large")]
        return next((word for gib, word in bounds if self.size_bytes < gib * _GIB), "huge")

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return {
            "name": self.name,
            "path": str(self.path),
            "kind": self.kind,
            "size_bytes": self.size_bytes,
            "size_class": self.size_class,
            "store": self.store,
        }


def roots(
    given: Sequence[Path], environment: Mapping[str, str], hub_cache: Path
) -> list[tuple[str, Path]]:
    """Return the places to look: given folders, ./data/models, /.models, the hub's cache, Ollama's."""
    ollama = environment.get("OLLAMA_MODELS", "")
    return [
        *(("folder", path) for path in given),
        ("folder", Path("data/models")),
        ("folder", Path("/.models")),
        ("hub-cache", hub_cache),
        ("ollama", Path(ollama) if ollama else Path.home() / ".ollama" / "models"),
    ]


def discover(places: Iterable[tuple[str, Path]]) -> list[Local]:
    """Return each model once, in the order of the places; absent places are no error.

    Two paths to the same weights, by links or by overlapping places, are one model.
    """
    seen: set[tuple[str, ...]] = set()
    found = []
    for store, place in places:
        models = _ollama(place) if store == "ollama" else _walk(place, store, _DEPTH)
        for model, weights in models:
            identity = tuple(sorted(str(w.resolve()) for w in weights))
            if identity not in seen:
                seen.add(identity)
                found.append(model)
    return found


def folders(store: str, place: Path) -> Iterator[Path]:
    """Yield the folders whose content decides what is found in a place, itself the first.

    An absent place is yielded too: it may come to be.
    """
    yield place.absolute()
    if store == "ollama":
        yield from (p for p in place.absolute().glob("manifests/**/") if p != place)
        return
    todo = [(place.absolute(), _DEPTH)]
    while todo:
        folder, depth = todo.pop()
        try:
            inner = [folder / i.name for i in os.scandir(folder) if _is_entered(i)]
        except OSError:
            continue
        yield from inner
        todo += [(path, depth - 1) for path in inner] if depth > 1 else []


def _is_entered(item: "os.DirEntry[str]") -> bool:
    """Say whether a folder is looked into: no links, so no loops, and nothing hidden."""
    return item.is_dir(follow_symlinks=False) and not item.name.startswith(".")


def _walk(folder: Path, store: str, depth: int) -> Iterator[tuple[Local, list[Path]]]:
    """Yield the models in and below a folder; linked folders are not entered."""
    try:
        items = sorted(os.scandir(folder), key=lambda item: item.name)
    except OSError:  # absent, no folder, or not ours to read
        return
    here = [folder / item.name for item in items if item.is_file()]
    yield from _in_folder(folder, here, store)
    if depth == 0:
        return
    for item in items:
        if _is_entered(item):
            yield from _walk(folder / item.name, store, depth - 1)


def _in_folder(folder: Path, here: list[Path], store: str) -> Iterator[tuple[Local, list[Path]]]:
    names = {path.name for path in here}
    weights = [path for path in here if path.suffix == ".safetensors"]
    if adapter_folder.CONFIG in names and adapter_folder.WEIGHTS in names:
        yield _local(_name(folder, store), folder, "adapter", weights, store)
    elif model_folder.CONFIG in names and weights:
        yield _local(_name(folder, store), folder, "model", weights, store)
    for path in here:
        if path.suffix in (".gguf", ".sbs"):
            kind: Kind = "gguf" if path.suffix == ".gguf" else "sbs"
            yield _local(path.stem, path, kind, [path], store)


def _local(
    name: str, path: Path, kind: Kind, weights: list[Path], store: str
) -> tuple[Local, list[Path]]:
    size = sum(w.stat().st_size for w in weights)
    return Local(name, path.absolute(), kind, size, store), weights


def _name(folder: Path, store: str) -> str:
    """Return the folder's name, or for a snapshot of the hub's cache its repository."""
    if store == "hub-cache" and folder.parent.name == "snapshots":
        return folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
    return folder.resolve().name


def _ollama(store: Path) -> Iterator[tuple[Local, list[Path]]]:
    """Yield the models of an Ollama store: manifests/<host>/<user>/<name>/<tag> name their blobs."""
    for manifest in sorted(store.glob("manifests/*/*/*/*")):
        try:
            layers = files.read_json(manifest)["layers"]
            digests = [x["digest"] for x in layers if x["mediaType"] == _OLLAMA_MODEL]
        except (NotFound, OSError, ValueError, KeyError, TypeError):  # another tool's file
            continue
        name = f"{manifest.parent.name}:{manifest.name}"
        for digest in digests:
            blob = store / "blobs" / str(digest).replace(":", "-").replace("/", "-")
            if blob.is_file():
                yield _local(name, blob, "gguf", [blob], "ollama")
