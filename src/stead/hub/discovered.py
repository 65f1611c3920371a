"""What was discovered, kept from one look to the next: only folders that changed are read again.

Knows nothing about models. The file is safe to delete; one that is damaged is made anew.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.errors import NotFound, ResourceError
from stead.hub import discover
from stead.hub.discover import Local

_VERSION = 1
_NAME = "discovered.json"
Places = Sequence[tuple[str, Path]]


def find(places: Places, folder: Path, *, refresh: bool = False) -> list[Local]:
    """Return the models in `places`, as `discover.discover` does, with the memory kept in `folder`.

    What was found is believed while every folder below the places has its time and every weight file
    its time and size. `refresh` looks anew whatever is remembered.
    """
    path = folder / _NAME
    asked = [[store, str(place.absolute())] for store, place in places]
    kept = None if refresh else _read(path, asked)
    if kept is not None:
        return kept
    marks = _marks(places)  # before the look: what changes meanwhile is seen next time
    found = discover.discover(places)
    weights = {str(p): _mark(p) for local in found for p in _weights(local)}
    record = {
        "version": _VERSION,
        "places": asked,
        "folders": marks,
        "weights": weights,
        "models": [local.to_dict() for local in found],
    }
    with suppress(OSError, ResourceError):  # a read-only data directory only costs the memory
        files.write_json(path, record, mode=0o600)
    return found


def _read(path: Path, asked: list[list[str]]) -> list[Local] | None:
    """Return what is remembered when it is still true, else None."""
    try:
        record = files.read_json(path)
        if record["version"] != _VERSION or record["places"] != asked:
            return None
        seen: dict[str, Any] = record["folders"] | record["weights"]  # Any: marks
        if any(_mark(Path(place)) != mark for place, mark in seen.items()):
            return None
        return [_local(item) for item in record["models"]]
    except (NotFound, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _local(item: dict[str, Any]) -> Local:
    return Local(
        str(item["name"]), Path(item["path"]), item["kind"], int(item["size_bytes"]), item["store"]
    )


def _marks(places: Places) -> dict[str, list[int] | None]:
    """Return the mark of every folder that a look enters."""
    return {
        str(folder): _mark(folder)
        for store, place in places
        for folder in discover.folders(store, place)
    }


def _mark(path: Path) -> list[int] | None:
    """Return what changes with a file or folder; None when it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def _weights(local: Local) -> list[Path]:
    return sorted(local.path.glob("*.safetensors")) if local.path.is_dir() else [local.path]
