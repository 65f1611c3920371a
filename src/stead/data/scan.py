"""The first pass over the rows: which are usable, of what kind, and which are held out; noted for the next time.

Knows nothing about tokens. A note is named by the hash of everything that decides it, the rows' content included, so
it is never out of date; without `notes` nothing is kept. Memory grows by a few hash bytes per row.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from stead.core import files
from stead.core.errors import NotFound, ResourceError
from stead.data.clean import Tally, content_key
from stead.data.format import Detection
from stead.data.row import Row
from stead.data.rows import Loaded, has_content, load, source_hash
from stead.data.section import DataSection, sources
from stead.data.split import Chooser, Split, share_split

_VERSION = 1  # of notes and of everything that decides which rows are usable


@dataclass(frozen=True, slots=True)
class Note:
    """What a scan found."""

    rows: int
    eval_rows: int
    split: Split
    formats: list[Detection]
    columns: list[str]


class Scan:
    """Run it once, or let a note say what it would find; then its fields are known.

    `rows` are those of the training source; `eval_rows` are among them, or those of `eval_path`.
    """

    def __init__(self, section: DataSection, seed: int, notes: Path | None = None) -> None:
        self.section, self._seed = section, seed
        self._notes = notes if section.eval_path is None and has_content(section) else None
        self.loaded = Loaded(Tally(section.on_error))
        self.rows = self.eval_rows = 0
        self.held_out: frozenset[bytes] = frozenset()
        self.split = Split(seed, 0)

    def recall(self) -> bool:
        """Take over an earlier scan's note; False when there is none."""
        with suppress(NotFound, ValueError, msgspec.ValidationError):  # a damaged note is no note
            if self._notes is not None:
                found = msgspec.convert(files.read_json(self._place(self._notes)), Note)
                self.rows, self.eval_rows, self.split = found.rows, found.eval_rows, found.split
                self.loaded.formats, self.loaded.columns = found.formats, found.columns
                return True
        return False

    def run(self) -> Iterator[Row]:
        """Yield the training source's rows; afterwards `split` is known."""
        section = self.section
        if section.eval_path is not None:
            rows = load(section, Loaded(Tally("skip")), evaluation=True)
            keys = [content_key(row) for row in rows]
            self.held_out, self.eval_rows = frozenset(keys), len(keys)
        chooser = Chooser(self._seed)
        for row in train_rows(section, self.loaded, self.held_out):
            self.rows += 1
            if section.eval_path is None and not section.streaming:
                chooser.see(row)
            yield row
        if section.streaming and section.eval_path is None:
            self.split = share_split(self._seed, section.eval_share)
        elif section.eval_path is None:
            self.split = chooser.split(section.eval_share)
            self.eval_rows = chooser.count(self.split)
        self._keep()

    def _keep(self) -> None:
        if self._notes is None:
            return
        found = Note(
            self.rows, self.eval_rows, self.split, self.loaded.formats, self.loaded.columns
        )
        with suppress(OSError, ResourceError):  # a read-only data directory only costs the memory
            self._notes.mkdir(parents=True, exist_ok=True)
            for path in {self._place(self._notes), self._place(self._notes, self._detected())}:
                files.write_json(path, asdict(found))

    def _detected(self) -> list[tuple[str, str]] | None:
        """Return what "auto" stood for: a plan names it, and reads the same. Files of a folder may differ."""
        listed = sources(self.section)
        found = [
            (r.name, f.name) for r, f in zip(self.loaded.readers, self.loaded.formats, strict=False)
        ]
        whole = len(found) == len(listed) and all(Path(s.path).is_file() for s in listed)
        return found if whole else None

    def _place(self, notes: Path, names: list[tuple[str, str]] | None = None) -> Path:
        section, listed = self.section, sources(self.section)
        read = [(s.reader, s.format) for s in listed] if names is None else names
        each = [[dict(s.columns), s.split, s.limit] for s in listed]
        chosen = [
            section.eval_share, section.limit, section.on_error, section.dedupe, section.streaming,
        ]  # fmt: skip
        parts = [_VERSION, source_hash(section), read, each, chosen, self._seed]
        return notes / f"{files.hash_value(parts)}.json"


def train_rows(section: DataSection, loaded: Loaded, held_out: frozenset[bytes]) -> Iterator[Row]:
    """Yield usable rows that are not in the separate evaluation data."""
    for row in load(section, loaded):
        if held_out and content_key(row) in held_out:
            reason = "the same as a row of the evaluation data"
            loaded.tally.drop(row.where, "in-eval", reason, invalid=False)
            loaded.tally.kept -= 1
        else:
            yield row
