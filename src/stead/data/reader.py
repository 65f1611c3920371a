"""The seam of readers: a file, folder or hub data set becomes records, each with its place.

Knows nothing about columns' meaning. A reader yields a `Record` per row or a `BadRow` that says what
is wrong where; it streams, so memory does not grow with rows.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from stead.core.errors import ConfigError, DataError, NotFound
from stead.core.registry import Registry
from stead.data.folder import Listing, listing
from stead.data.section import Source

HEAD_BYTES = 1 << 16  # looked at to tell a file's kind
LINE_LIMIT = 64 << 20  # bytes of one row; the longest real document seen has 20 MB
COLUMN_LIMIT = 4096
_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Record:
    """One row as the file has it; `where` is "file:line" for people."""

    where: str
    fields: dict[str, Any]  # Any: JSON values


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, with a stable code and the reason in words."""

    where: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Detected:
    """A reader or format that was chosen, and why, in one sentence."""

    name: str
    why: str


class Reader(ABC):
    """Reads one kind of source. Stateless; one instance may read many files."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def recognize(self, path: str, head: bytes) -> str | None:
        """Say in a few words why this content is of this kind, or None when it is not.

        `head` holds the first bytes of a file; it is empty for a folder or a hub name.
        """

    @abstractmethod
    def read(self, source: Source) -> Iterator[Record | BadRow]:
        """Yield the rows in order. Raises: DataError when the source as a whole cannot be read."""


readers: Registry[Reader] = Registry(
    "reader", "stead.data.readers", base="stead.data.reader:Reader"
)

# Content is asked in this order: the narrowest kind first, text last, because anything is text.
_ORDER = ("huggingface", "parquet", "json", "jsonl", "csv", "text")


def open_reader(source: Source) -> tuple[Reader, Detected]:
    """Return the reader of a source: the named one, or the one its content and suffix ask for.

    Raises: ConfigError("unknown-reader") listing the known; NotFound("no-file"); DataError("empty-file",
    "wrong-encoding", "unknown-file").
    """
    if source.reader != "auto":
        name = "text" if source.reader == "txt" else source.reader
        read_head(source.path)  # a file that is gone, or none, is told before it is opened
        return readers.create(name), Detected(name, f"reader {name!r} was asked for")
    return _recognize(source.path)


def _recognize(path: str) -> tuple[Reader, Detected]:
    head = read_head(path)
    order = [*_ORDER, *(n for n in readers.names() if n not in _ORDER)]
    created = {name: readers.get(name) for name in order}
    suffix = Path(path).suffix.lower()
    named = [n for n in order if suffix and suffix in created[n].suffixes]
    for name in [*named, *(n for n in order if n not in named)]:
        why = created[name]().recognize(path, head)
        if why is not None:
            by_suffix = f", and the suffix {suffix!r} agrees" if name in named else ""
            return readers.create(name), Detected(name, f"{Path(path).name!r} is {why}{by_suffix}")
    raise DataError(
        "unknown-file",
        f"{path!r} is of no kind that can be read (readers: {', '.join(readers.names())})",
    )


def read_head(path: str) -> bytes:
    """Return the first bytes of a file; b"" for a folder or a hub name.

    Raises: NotFound("no-file"), DataError("empty-file" | "wrong-encoding" | "not-a-file").
    """
    if path.startswith("hf:") or Path(path).is_dir():
        return b""
    if not Path(path).exists():
        raise NotFound("no-file", f"there is no data file {path!r}")
    if not Path(path).is_file():
        raise DataError("not-a-file", f"{path!r} is not a regular file")
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.strip():
        size = os.path.getsize(path)
        raise DataError("empty-file", f"{path!r} is empty ({size} bytes, no row)")
    if head.startswith(_BOMS):
        raise DataError(
            "wrong-encoding",
            f"{path!r} is UTF-16 (it begins with {head[:2]!r}), not UTF-8",
            hint=f"iconv -f UTF-16 -t UTF-8 {path} > utf8-{Path(path).name}",
        )
    return head


def place(path: str, line: int) -> str:
    """Return "file:line", the way people and editors name a row."""
    return f"{_name(path)}:{line}"


@lru_cache(maxsize=64)
def _name(path: str) -> str:
    return Path(path).name


def check_fields(fields: Any, where: str) -> Record | BadRow:  # Any: what a file held
    """Accept a row that is an object of a sane width; name what is wrong otherwise."""
    if not isinstance(fields, dict):
        return BadRow(
            where, "not-an-object", f"a {type(fields).__name__}, not an object with columns"
        )
    if not fields:
        return BadRow(where, "empty-row", "an object without columns")
    if len(fields) > COLUMN_LIMIT:
        reason = f"{len(fields)} columns (the limit is {COLUMN_LIMIT})"
        return BadRow(where, "too-many-columns", reason)
    return Record(where, fields)


def decode_text(data: bytes, where: str) -> str | BadRow:
    """Return UTF-8 bytes as text, or the bad row that names the byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: byte 0x{data[error.start]:02x} at position {error.start}"
        return BadRow(where, "wrong-encoding", reason)


def folder_of(source: Source) -> Listing | None:
    """Return the files of a source that is a folder of them; None for every other one.

    Their kinds are those that readers name by suffix. Raises: DataError("empty-folder").
    """
    is_folder = not source.path.startswith("hf:") and Path(source.path).is_dir()
    if not is_folder or is_saved_dataset(Path(source.path)) or source.reader == "huggingface":
        return None
    return listing(source.path, {s for n in readers.names() for s in readers.get(n).suffixes})


def read(source: Source) -> tuple[Iterator[Record | BadRow], Detected]:
    """Return the rows of a source and how it was recognized. A folder of files is read in order."""
    found = folder_of(source)
    if found is not None:
        return _read_folder(source, found)
    try:
        reader, detected = open_reader(source)
    except ConfigError as error:
        raise DataError(error.code, error.message, hint="stead data formats") from error
    return reader.read(source), detected


def is_saved_dataset(folder: Path) -> bool:
    """Say whether a folder was written by the `datasets` library (`save_to_disk`)."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _read_folder(source: Source, found: Listing) -> tuple[Iterator[Record | BadRow], Detected]:
    parts = [read(replace(source, path=path)) for path in found.files]
    first = parts[0][1]
    return chain.from_iterable(rows for rows, _ in parts), Detected(
        first.name, f"{found.told()}; {first.why}"
    )
