"""From a section to usable rows: read, detect, convert, clean; what was found is remembered.

Knows nothing about templates or tokens. Streams: a detection sample is all that is held.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.errors import DataError
from stead.data.clean import Tally, clean
from stead.data.folder import Listing
from stead.data.format import Detection, Format, detect, map_columns, open_format
from stead.data.reader import BadRow, Detected, Record, folder_of, read
from stead.data.row import Kind, Row
from stead.data.section import DataSection, Source, sources

_NAMED = 3  # files named in an error
_SAMPLE = 200  # records looked at to tell the format
_LONG_CELL = 4096  # characters; longer cells are documents, and stay in the source
_LONG_LIST = 64  # entries


@dataclass(slots=True)
class Loaded:
    """What reading a section found out: how each source was read, and what was dropped."""

    tally: Tally
    readers: list[Detected] = field(default_factory=list)
    formats: list[Detection] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    first: str | None = None  # the first source, as it was named
    extras: set[str] = field(default_factory=set)  # columns with a plain cell in a usable row
    folders: list[str] = field(default_factory=list)  # what is read of each folder, in words
    answered: int = 0  # usable rows whose last turn is an answer

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of rows the formats give, in order of the sources."""
        return list(dict.fromkeys(open_format(one.name).kind for one in self.formats))

    def see(self, row: Row) -> None:
        """Take note of what rewards and scorers may ask a usable row for."""
        self.extras.update(row.meta)
        self.answered += bool(row.messages) and row.messages[-1].role == "assistant"


def load(section: DataSection, loaded: Loaded, *, evaluation: bool = False) -> Iterator[Row]:
    """Yield the section's usable rows in order; `loaded` fills while they are read.

    Raises: DataError for a source that cannot be read at all, for columns that fit no format, and
    with `on_error` "refuse" for the first invalid row; DataError("no-rows") when none is usable.
    """
    parts = (_convert(one, loaded) for one in sources(section, evaluation=evaluation))
    rows = clean(chain.from_iterable(parts), loaded.tally, dedupe=section.dedupe)
    found = False
    for row in rows if section.limit is None else islice(rows, section.limit):
        found = True
        loaded.see(row)
        yield row
    if not found:
        raise _nothing(section, loaded.tally)


def _nothing(section: DataSection, tally: Tally) -> DataError:
    first = tally.examples[0] if tally.examples else None
    why = f"; the first: {first.where}: {first.reason}" if first else ""
    return DataError(
        "no-rows", f"none of the {tally.read} rows of {section.path!r} can be used{why}",
        **tally.to_json(),
    )  # fmt: skip


def _convert(source: Source, loaded: Loaded) -> Iterator[Row]:
    found = folder_of(source)
    if found is None:
        return _convert_one(source, loaded)
    loaded.folders.append(found.told())
    return _convert_folder(source, found, loaded)


def _convert_folder(source: Source, found: Listing, loaded: Loaded) -> Iterator[Row]:
    """Yield the rows of a folder's files, each read as it is.

    Raises: DataError("mixed-folder") when they are of several kinds, before the first row.
    """
    parts: dict[str, list[str]] = {}
    each = [replace(source, path=path) for path in found.files]
    for file in each:  # looked at and closed: there may be more files than can be open at once
        one = Loaded(Tally("skip"))
        _convert_one(file, one)
        for kind in one.kinds:
            parts.setdefault(kind, []).append(file.path)
        _join(loaded, one)
    if len(parts) > 1:
        raise _mixed(source.path, parts)
    rows = (_convert_one(file, Loaded(loaded.tally)) for file in each)
    return islice(chain.from_iterable(rows), source.limit)


def _join(loaded: Loaded, one: Loaded) -> None:
    """Add what a file of a folder is, once for all files that are read alike."""
    known = set(zip((r.name for r in loaded.readers), (f.name for f in loaded.formats), strict=False))  # fmt: skip
    loaded.first = one.first if loaded.first is None else loaded.first
    loaded.columns += [c for c in one.columns if c not in loaded.columns]
    if one.formats and (one.readers[0].name, one.formats[0].name) not in known:
        loaded.readers += one.readers
        loaded.formats += one.formats


def _mixed(folder: str, parts: Mapping[str, list[str]]) -> DataError:
    named = "; ".join(
        f"{kind} in {', '.join(Path(p).name for p in paths[:_NAMED])}{' …' * (len(paths) > _NAMED)}"
        for kind, paths in parts.items()
    )
    most = max(parts.values(), key=len)
    return DataError(
        "mixed-folder", f"the folder {folder!r} holds rows of several kinds: {named}",
        hint=f"stead data inspect {shlex.quote(most[0])}",
    )  # fmt: skip


def _convert_one(source: Source, loaded: Loaded) -> Iterator[Row]:
    raw, detected = read(source)
    loaded.readers.append(detected)
    loaded.first = source.path if loaded.first is None else loaded.first
    records = _records(raw, source, loaded.tally)
    sample = list(islice(records, _SAMPLE))
    if not sample:
        return iter(())
    loaded.columns += [k for k in sample[0].fields if k not in loaded.columns]
    detection = _detection(source, [record.fields for record in sample])
    loaded.formats.append(detection)
    limited: Iterable[Record] = chain(sample, records)
    if source.limit is not None:
        limited = islice(limited, source.limit)
    return _rows(open_format(detection.name), limited, loaded.tally)


def _detection(source: Source, fields: list[dict[str, Any]]) -> Detection:
    if source.format == "auto":
        return detect(fields)
    kind = open_format(source.format)
    fitting = [why for one in fields if (why := kind.recognize(one)) is not None]
    share = len(fitting) / len(fields)
    return Detection(source.format, f"format {source.format!r} was asked for", share)


def _records(raw: Iterable[Record | BadRow], source: Source, tally: Tally) -> Iterator[Record]:
    for one in raw:
        tally.read += 1
        if isinstance(one, BadRow):
            tally.drop(one.where, one.code, one.reason)
        elif not source.columns:
            yield one
        else:
            mapped = _mapped(one, source.columns, tally)
            if mapped is not None:
                yield mapped


def _mapped(record: Record, columns: Mapping[str, str], tally: Tally) -> Record | None:
    try:
        return Record(record.where, map_columns(record.fields, columns))
    except DataError as error:
        if error.code == "no-column" and tally.read == 1:
            raise  # a column nobody has is a mistake in the mapping, not in the rows
        tally.drop(record.where, error.code, error.message)
        return None


def _rows(kind: Format, records: Iterable[Record], tally: Tally) -> Iterator[Row]:
    for record in records:
        try:
            found = list(kind.convert(record.fields, record.where))
            yield from (replace(row, meta=_others(record.fields)) for row in found)
        except DataError as error:
            tally.drop(record.where, error.code, error.message)
        except UnicodeEncodeError:
            reason = "half of a surrogate pair, which is no character"
            tally.drop(record.where, "bad-text", reason)
        except RecursionError:
            tally.drop(record.where, "too-deep", "nested too deeply")


def _others(fields: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """Return the columns that rewards and scorers may look at: plain cells, no turns, no books."""
    return {key: value for key, value in fields.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:  # Any: a JSON value
    if isinstance(value, str):
        return 0 < len(value) <= _LONG_CELL
    if isinstance(value, list):
        return len(value) <= _LONG_LIST and all(isinstance(v, str | int | float) for v in value)
    return isinstance(value, int | float)


def source_hash(section: DataSection) -> str:
    """Return a SHA-256 over the content of the section's sources; hub sources count by name."""
    listed = sources(section)
    if section.eval_path is not None:
        listed += sources(section, evaluation=True)
    return files.hash_value([_one_hash(source) for source in listed])


def _one_hash(source: Source) -> list[Any]:
    path = Path(source.path)
    if source.path.startswith("hf:") or not path.exists():
        return [source.path, source.split]
    inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [source.split, *(_file_hash(p) for p in inside)]


def _file_hash(path: Path) -> str:
    """Hash a file once per process and state: a survey and a preparation ask several times."""
    seen = path.stat()
    return _hash_as_seen(path, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


@lru_cache(maxsize=1024)
def _hash_as_seen(path: Path, *state: int) -> str:
    return files.hash_file(path)


def has_content(section: DataSection) -> bool:
    """Say whether all rows are in files here; the name of a hub's data says nothing about its content."""
    listed = sources(section)
    if section.eval_path is not None:
        listed += sources(section, evaluation=True)
    return all(Path(source.path).exists() for source in listed)
