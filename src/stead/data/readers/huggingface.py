"""Data sets of the Hugging Face hub, and those saved by its library, through `datasets`.

Knows nothing about columns. `hf:org/name`, with `@revision` and `#configuration` if wanted; or a
folder that `save_to_disk` wrote. The library's own cache and offline switch (HF_HUB_OFFLINE) apply.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stead.core.errors import DataError, NotFound
from stead.core.lazy import lazy
from stead.data.reader import BadRow, Reader, Record, check_fields, is_saved_dataset
from stead.data.section import Source

if TYPE_CHECKING:
    import datasets
else:
    datasets = lazy("datasets", extra="train")

_NAME = re.compile(
    r"hf:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<rev>[\w./-]+))?(?:#(?P<config>[\w.-]+))?"
)


class HuggingFace(Reader):
    """Reads hub data sets; with `streaming` rows are fetched as they are read."""

    requires = ("datasets",)

    def recognize(self, path: str, head: bytes) -> str | None:
        """Accept `hf:` names and folders the library wrote."""
        if path.startswith("hf:"):
            return "a Hugging Face data set by its prefix 'hf:'"
        if not head and Path(path).is_dir() and is_saved_dataset(Path(path)):
            return "a folder written by the datasets library"
        return None

    def read(self, source: Source) -> Iterator[Record | BadRow]:
        """Yield a record per row. Raises: DataError("no-split" | "bad-dataset"), NotFound("no-dataset")."""
        name = source.path.rstrip("/").rsplit("/", 1)[-1]
        for number, row in enumerate(_open(source), 1):
            yield check_fields(dict(row), f"{name}:{number}")


def _open(source: Source) -> Iterable[dict[str, Any]]:  # Any: the columns' values
    if not source.path.startswith("hf:"):
        return _saved(source)
    found = _NAME.fullmatch(source.path)
    if found is None:
        raise DataError(
            "bad-name", f"{source.path!r} is not of the form hf:org/name@revision#config"
        )
    return load(
        found["name"], split=source.split, streaming=source.streaming,
        name=found["config"], revision=found["rev"],
    )  # fmt: skip


def load(path: str, *, split: str | None, streaming: bool, **more: Any) -> Iterable[dict[str, Any]]:
    """Load through the library, with its faults as ours. Any: the library's keyword arguments."""
    given = {key: value for key, value in more.items() if value is not None}
    wanted = "train" if split is None else split
    try:
        rows: Iterable[dict[str, Any]] = datasets.load_dataset(
            path, split=wanted, streaming=streaming, **given
        )
        return rows
    except (datasets.exceptions.DatasetNotFoundError, FileNotFoundError, ConnectionError) as error:
        raise NotFound("no-dataset", f"the data set {path!r} cannot be had: {error}") from error
    except (ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            "bad-dataset", f"the data set {path!r} (split {wanted!r}): {error}"
        ) from error


def _saved(source: Source) -> Iterable[dict[str, Any]]:
    try:
        saved = datasets.load_from_disk(source.path)
    except (FileNotFoundError, ValueError, OSError) as error:
        raise DataError("bad-dataset", f"{source.path!r}: {error}") from error
    if not isinstance(saved, dict):
        rows: Iterable[dict[str, Any]] = saved
        return rows
    wanted = source.split if source.split is not None else "train"
    if wanted not in saved:
        message = f"{source.path!r} has no split {wanted!r} (it has {', '.join(saved)})"
        raise DataError("no-split", message)
    found: Iterable[dict[str, Any]] = saved[wanted]
    return found
