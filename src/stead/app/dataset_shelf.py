"""The platform's data sets: brought in, described, corrected, split, removed.

Knows nothing about HTTP or tokens. A data set is one file below `datasets/uploads/<id>` of the data directory and its row
in the store; everything here reads or writes files: call it in a thread.
"""

import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from stead.app.dataset_looks import parts_of, section_of
from stead.core import files
from stead.core.errors import DataError, UnsafeError
from stead.core.paths import Home, safe_name
from stead.data.clean import Tally
from stead.data.rows import Loaded, load
from stead.store.datasets import Dataset
from stead.store.stores import Stores

Json = dict[str, Any]  # Any: JSON values
_SHOWN = 20  # problems that are named
_STEM = 64  # characters of a file's own name that are kept
_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md", ".ndjson")


@dataclass(frozen=True, slots=True)
class Shelf:
    """The data sets of one platform."""

    home: Home
    stores: Stores

    @contextmanager
    def receiving(self, filename: str) -> Iterator[tuple[Path, IO[bytes]]]:
        """Open the file of a new data set for writing; it is gone unless the block ends well."""
        path = self.home.datasets / "uploads" / uuid.uuid4().hex / _file_name(filename)
        try:
            with files.replacing(path, 0o600) as file:
                yield path, file
        except BaseException:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise

    def add(self, path: Path, name: str, owner: str, at: float) -> Dataset:
        """Take a received file as a data set; one whose columns fit no format waits to be told what they are.

        Raises: DataError when it is none; the file is removed then.
        """
        made = Dataset(
            id=path.parent.name, name=name, path=str(path), bytes=path.stat().st_size, created_at=at,
            updated_at=at, owner=owner,
        )  # fmt: skip
        try:
            made = _described(made, may_wait=True)
        except BaseException:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise
        return self.stores.datasets.add(made)

    def correct(
        self,
        dataset_id: str,
        *,
        reader: str | None,
        format: str | None,
        columns: Mapping[str, str] | None,
        name: str | None,
        at: float,
    ) -> Dataset:
        """Read a data set in another way from now on. Raises: DataError, ConfigError when that does not work."""
        old = self.stores.datasets.get(dataset_id)
        only_named = reader is None and format is None and columns is None
        found = _described(
            may_wait=only_named,
            dataset=replace(
                old,
                reader=old.reader if reader is None else reader,
                format=old.format if format is None else format,
                columns=old.columns if columns is None else dict(columns),
                name=old.name if name is None else name,
            ),
        )
        return self.stores.datasets.change(
            dataset_id, name=found.name, reader=found.reader, format=found.format,
            columns=found.columns, kind=found.kind, rows=found.rows, facts=found.facts, updated_at=at,
        )  # fmt: skip

    def split(
        self, dataset_id: str, shares: Mapping[str, float], seed: int, owner: str, at: float
    ) -> list[Dataset]:
        """Write each share as a data set of its own; rows that ask the same are in the same one.

        Raises: NotFound; DataError; ConfigError("bad-shares") unless the shares are positive and add up to 1.
        """
        old = self.stores.datasets.get(dataset_id)
        parts = parts_of(old, shares, seed)
        made = []
        for part, lines in parts.items():
            with self.receiving(f"{old.name}-{part}.jsonl") as (path, file):
                file.writelines(lines)
            if lines:
                made.append(self.add(path, f"{old.name}-{part}"[:200], owner, at))
            else:
                shutil.rmtree(path.parent, ignore_errors=True)
        return made

    def remove(self, dataset_id: str) -> None:
        """Remove a data set and its file. Raises: NotFound."""
        found = self.stores.datasets.remove(dataset_id)
        folder = Path(found.path).parent
        if folder.parent == self.home.datasets / "uploads":  # what lies elsewhere is not ours
            shutil.rmtree(folder, ignore_errors=True)


def _file_name(given: str) -> str:
    """Return the name a file is kept under: its own as far as that is safe, for it is named where a row is wrong."""
    suffix = next((s for s in _SUFFIXES if given.lower().endswith(s)), ".txt")
    stem = (
        given.replace("\\", "/").rpartition("/")[2].removesuffix(given[len(given) - len(suffix) :])
    )
    kept = re.sub(r"[^A-Za-z0-9_-]+", "-", stem)[:_STEM].strip("-")
    try:
        return safe_name(f"{kept}{suffix}")
    except UnsafeError:
        return f"rows{suffix}"


_WAITING = ("unknown-format", "no-text-columns")


def _described(dataset: Dataset, *, may_wait: bool) -> Dataset:
    """Read every row once and note what was found. Raises: DataError when nothing can be used.

    With `may_wait`, a file that has rows but no columns of a known format is described by what it has.
    """
    loaded = Loaded(Tally("skip", named=_SHOWN))
    explanation, rows = None, None
    try:
        rows = sum(1 for _ in load(section_of(dataset), loaded))
    except DataError as error:
        if not (may_wait and error.code in _WAITING and dataset.format == "auto"):
            raise
        explanation = error.message
    kinds, why = loaded.kinds, [r.why for r in loaded.readers] + [f.why for f in loaded.formats]
    facts: Json = {
        "explanation": "; ".join(why if explanation is None else [*why, explanation]),
        "detected": {"reader": loaded.readers[0].name}
        | ({"format": loaded.formats[0].name} if loaded.formats else {}),
        "needs_columns": explanation is not None,
        "columns": loaded.columns,
        "problems": [
            {"line": d.where.rpartition("/")[2], "code": d.code, "message": d.reason}
            for d in loaded.tally.examples
        ],
        "dropped": dict(loaded.tally.dropped),
        "read": loaded.tally.read,
    }
    return replace(dataset, rows=rows, kind=kinds[0] if len(kinds) == 1 else None, facts=facts)
