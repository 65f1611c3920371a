"""Use cases of data sets: look at one, check it, prepare it, show what is trained on.

Knows nothing about surfaces. Light: no weights are loaded, nothing but `prepare` writes.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from stead.core.errors import DataError
from stead.core.events import Emit, ignore
from stead.data import prepare as preparing
from stead.data.clean import Tally
from stead.data.facts import Shape
from stead.data.format import formats
from stead.data.kinds import final_kind
from stead.data.mask import trained_text
from stead.data.reader import readers
from stead.data.row import Kind, Row
from stead.data.rows import Loaded, load
from stead.data.section import DataSection
from stead.values import PreparedData


@dataclass(frozen=True, slots=True)
class ShownColumn:
    """One column of a row as text, cut into (piece, trained?)."""

    name: str
    pieces: list[tuple[str, bool]]
    tokens: int
    trained: int


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One row as the model would get it."""

    where: str
    columns: list[ShownColumn]


def inspect(section: DataSection, *, rows: int = 3) -> dict[str, Any]:  # Any: JSON values
    """Say how a data set would be read: reader and format with reasons, columns, first rows, statistics."""
    loaded, shape = Loaded(Tally(section.on_error)), Shape()
    first: list[Row] = []
    for row in load(section, loaded):
        shape.add(row)
        if len(first) < rows:
            first.append(row)
    return {
        "path": section.path,
        "readers": [asdict(one) for one in loaded.readers],
        "formats": [asdict(one) for one in loaded.formats],
        "folders": loaded.folders,
        "kinds": loaded.kinds,
        "columns": loaded.columns,
        "first_rows": [msgspec.to_builtins(row) for row in first],
        "statistics": shape.to_json(),
        "report": loaded.tally.to_json(),
    }


def validate(
    section: DataSection, *, min_rows: int, allowed: int
) -> dict[str, Any]:  # Any: JSON values
    """Check every row and name each bad one; `valid` is false when there are too many, or too few rows.

    Raises: DataError for a source that cannot be read at all.
    """
    loaded = Loaded(Tally("skip", named=None))
    with suppress(_NothingUsable):
        for _ in _usable(section, loaded):
            pass
    tally = loaded.tally
    problems = []
    if tally.invalid > allowed:
        problems.append(f"{tally.invalid} invalid rows, {allowed} are allowed")
    if tally.kept < min_rows:
        problems.append(f"{tally.kept} usable rows, at least {min_rows} are needed")
    return {
        "path": section.path,
        "valid": not problems,
        "problems": problems,
        "formats": [asdict(one) for one in loaded.formats],
        **tally.to_json(),
    }


class _NothingUsable(Exception):  # noqa: N818 - a state, not a fault
    """No row is usable: for a check that is a finding, not a failure."""


def _usable(section: DataSection, loaded: Loaded) -> Iterator[Row]:
    try:
        yield from load(section, loaded)
    except DataError as error:
        if error.code == "no-rows":
            raise _NothingUsable from error
        raise


def prepare(
    section: DataSection,
    model: Path,
    out: Path,
    *,
    kind: Kind | None,
    max_length: int | None,
    emit: Emit = ignore,
) -> PreparedData:
    """Write the token sequences that training reads, below `out`."""
    return preparing.prepare(
        section, model, out, kind_wanted=kind, max_length=max_length, emit=emit
    )


def show(
    section: DataSection,
    model: Path,
    *,
    rows: int,
    kind: Kind | None = None,
    max_length: int | None = None,
) -> list[ShownRow]:
    """Return the first rows as the model would see them, with exactly what is trained marked."""
    loaded = Loaded(Tally(section.on_error))
    picked = list(islice(load(section, loaded), rows))
    made = final_kind(loaded, kind)
    encoder = preparing.open_encoder(section, model, made, max_length)
    tokenizer = encoder.tokenizer
    shown = []
    for example in encoder.encode(picked, made, loaded.tally):
        columns = []
        for name, masked in example.columns.items():
            pieces = trained_text(tokenizer.decode_pieces(masked.ids), masked.mask)
            trained = masked.mask.count(1, 1)
            columns.append(ShownColumn(name, pieces, len(masked.ids), trained))
        shown.append(ShownRow(example.row.where, columns))
    if not shown:
        first = loaded.tally.examples[0]
        raise DataError("nothing-to-train", f"no row can be shown; {first.where}: {first.reason}")
    return shown


def known() -> dict[str, list[dict[str, Any]]]:  # Any: JSON values
    """List the readers and formats with what they need and an example."""
    return {
        "readers": [
            {"name": n, "suffixes": list(readers.get(n).suffixes), "about": _about(readers.get(n))}
            for n in readers.names()
        ],
        "formats": [
            {
                "name": n,
                "kind": formats.get(n).kind,
                "about": _about(formats.get(n)),
                "example": formats.get(n).example,
            }
            for n in formats.names()
        ],
    }


def _about(kind: type) -> str:
    text = kind.__doc__
    return "" if text is None else text.splitlines()[0]
