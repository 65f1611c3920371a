"""The seam of formats: the columns of a record become rows, and the format is found by looking.

Knows nothing about files. Detection asks every format about a sample of records and says in one
sentence what it saw; what nearly fitted is reported with what it lacks.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stead.core.errors import ConfigError, DataError
from stead.core.registry import Registry
from stead.data.row import Kind, Row

Fields = Mapping[str, Any]  # Any: JSON values, as a file had them


class Format(ABC):
    """Reads one shape of columns. Stateless.

    `rank` decides between formats that fit equally many records: the lower, the narrower.
    `example` is a row in this format, shown to users and used by the contract test.
    """

    kind: ClassVar[Kind]
    rank: ClassVar[int] = 50
    example: ClassVar[dict[str, Any]]  # Any: JSON values

    @abstractmethod
    def recognize(self, fields: Fields) -> str | None:
        """Name the columns that make a record this format, or None."""

    @abstractmethod
    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield the rows of one record: every turn of it, none added. Raises: DataError."""

    def lacks(self, fields: Fields) -> str | None:
        """Say what a record lacks to be this format, if it has a part of it."""
        return None


formats: Registry[Format] = Registry(
    "format", "stead.data.formats", base="stead.data.format:Format"
)


@dataclass(frozen=True, slots=True)
class Detection:
    """The format that was found. `confidence` is the share of the sample that fits it."""

    name: str
    why: str
    confidence: float
    near: tuple[str, ...] = ()


def detect(records: Sequence[Fields]) -> Detection:
    """Find the format of a sample of records.

    Raises: DataError("no-text-columns") when no column holds text; DataError("unknown-format")
    naming the columns and what nearly fitted; DataError("no-rows") for an empty sample.
    """
    if not records:
        raise DataError("no-rows", "there is no row to look at")
    found = []
    for name in formats.names():
        kind = formats.create(name)
        seen = [why for fields in records if (why := kind.recognize(fields)) is not None]
        if seen:
            found.append((-len(seen), kind.rank, name, seen[0]))
    if not found:
        raise _unknown(records)
    found.sort()
    count, _, name, why = found[0]
    near = tuple(f"{n} ({-c} of {len(records)} rows: {w})" for c, _, n, w in found[1:])
    return Detection(name, why, -count / len(records), near + _lacking(records[0]))


def _lacking(fields: Fields) -> tuple[str, ...]:
    found = ((name, formats.create(name).lacks(fields)) for name in formats.names())
    return tuple(f"{name} (lacks {lack})" for name, lack in found if lack is not None)


def _unknown(records: Sequence[Fields]) -> DataError:
    columns = list(dict.fromkeys(str(key) for fields in records for key in fields))
    shown = ", ".join(columns[:20]) + (f", … ({len(columns)} in all)" if len(columns) > 20 else "")
    texts = text_columns(records)
    if not texts:
        message = f"no column holds text (columns: {shown})"
        return DataError("no-text-columns", message, columns=columns[:100])
    near = _lacking(records[0])
    close = f"; nearly: {'; '.join(near)}" if near else ""
    hint = f"stead data inspect FILE --column text={texts[0]}"
    message = f"the columns fit no format (columns: {shown}{close})"
    return DataError("unknown-format", message, hint=hint, columns=columns[:100])


def text_columns(records: Sequence[Fields]) -> list[str]:
    """Return the columns that hold words in most records, the one with most text first."""
    size: dict[str, int] = {}
    count: dict[str, int] = {}
    for fields in records:
        for key, value in fields.items():
            if isinstance(value, str) and is_words(value):
                size[key] = size.get(key, 0) + len(value)
                count[key] = count.get(key, 0) + 1
    kept = [key for key in size if count[key] * 2 >= len(records)]
    return sorted(kept, key=lambda key: -size[key])


def is_words(value: str) -> bool:
    """Say whether a cell holds words rather than a number, an id or nothing."""
    text = value.strip()
    return len(text) >= 3 and any(c.isalpha() for c in text) and not _is_number(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def open_format(name: str) -> Format:
    """Return a format by name. Raises: DataError("unknown-format") with the nearest name."""
    try:
        return formats.create(name)
    except ConfigError as error:
        raise DataError(error.code, error.message, hint="stead data formats") from error


def first_key(fields: Fields, names: Sequence[str]) -> str | None:
    """Return the first of `names` that has a value in the record."""
    return next((name for name in names if fields.get(name) is not None), None)


def text_of(fields: Fields, key: str) -> str:
    """Return a column as text. Raises: DataError("not-text") with the column and what it holds."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError("not-text", f"the column {key!r} holds {value!r:.60}, not text")
    return value if isinstance(value, str) else str(value)


def map_columns(fields: Fields, columns: Mapping[str, str]) -> dict[str, Any]:
    """Apply an explicit mapping `ours -> theirs`.

    Theirs is a column ("body"), several joined by an empty line ("title+body"), or a pattern
    ("Q: {question}\\nA: {answer}"). Raises: DataError("no-column") naming those that are there.
    """
    found = dict(fields)
    for ours, theirs in columns.items():
        found[ours] = _mapped(fields, theirs)
    return found


def _mapped(fields: Fields, theirs: str) -> Any:  # Any: a JSON value
    if theirs in fields:
        return fields[theirs]
    if "{" in theirs:
        return _pattern(fields, theirs)
    names = [name.strip() for name in theirs.split("+")]
    missing = [name for name in names if name not in fields]
    if missing:
        raise _no_column(fields, missing[0])
    texts = [text_of(fields, name) for name in names if fields[name] is not None]
    return "\n\n".join(text for text in texts if text.strip())


def _pattern(fields: Fields, pattern: str) -> str:
    text = ""
    for number, piece in enumerate(pattern.replace("\\n", "\n").split("{")):
        name, brace, rest = piece.partition("}")
        if number == 0 or not brace:
            text += piece
        elif name not in fields:
            raise _no_column(fields, name)
        else:
            text += text_of(fields, name) + rest
    return text


def _no_column(fields: Fields, name: str) -> DataError:
    have = ", ".join(map(str, fields))
    return DataError("no-column", f"there is no column {name!r} (columns: {have:.300})")
