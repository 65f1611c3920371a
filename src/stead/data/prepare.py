"""The stage of this room: rows in, a committed folder of token sequences out.

Knows nothing about models' weights or batches. Two passes over the sources: the first (`data/scan`)
counts, cleans and chooses the split, the second renders, encodes and writes; memory does not grow with
rows but for a few hash bytes each. The same inputs are prepared once: the folder's name is their hash.

Files of a folder: `<split>.<column>.{tokens,mask,offsets}.bin` (uint32, uint8, int64), `.cuts.bin`
where documents share a row, `<split>.<name>.f32.bin` for scalars, `<split>.rows.jsonl`.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stead.core import files, manifest
from stead.core.errors import CheckpointError, DataError
from stead.core.events import Emit, Finished, Note, Progress, Saved, Started, ignore
from stead.data.clean import Tally
from stead.data.encode_pool import EncodePool, children
from stead.data.examples import Encoder, Example
from stead.data.facts import DataFacts, Lengths, build_facts
from stead.data.kinds import final_kind
from stead.data.row import Kind, Row
from stead.data.rows import Loaded, load, source_hash
from stead.data.scan import Scan, train_rows
from stead.data.section import DataSection, sources
from stead.data.split import Chooser
from stead.data.store import ColumnWriter, ScalarWriter
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.values import PreparedData

VERSION = 3  # of the layout and of everything that decides tokens; part of every hash
BLOCK = 2048  # tokens of a block of documents when no length is given
_BATCH = 256  # rows rendered and encoded together
_SURVEY_ROWS = 20_000  # rows encoded by a survey; beyond them counts are estimates
_COLUMNS: dict[str, tuple[str, ...]] = {"preference": ("chosen", "rejected")}
_SCALARS: dict[str, tuple[str, ...]] = {"preference": ("margin",), "labelled": ("label",)}

T = TypeVar("T")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into lists of at most `size`."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch


def inputs_hash(
    section: DataSection,
    model_folder: Path,
    *,
    kind_wanted: Kind | None,
    max_length: int | None,
    seed: int,
) -> str:
    """Return a SHA-256 over everything that decides the prepared tokens: rows, choices, tokenizer."""
    chosen = {
        name: getattr(section, name)
        for name in (
            "split", "eval_share", "limit", "on_error", "dedupe", "train_on", "streaming", "pack",
        )
    }  # fmt: skip
    each = [[s.reader, s.format, dict(s.columns), s.split, s.limit] for s in sources(section)]
    tokenizer, template = TextTokenizer.open(model_folder), ChatTemplate.open(model_folder)
    parts = [VERSION, source_hash(section), chosen, each, tokenizer.hash, template.hash]
    return files.hash_value([*parts, kind_wanted, max_length, seed])


def open_encoder(
    section: DataSection, model_folder: Path, kind: Kind | None, max_length: int | None
) -> Encoder:
    """Return the encoder of a model folder for a section's choices."""
    return Encoder(
        TextTokenizer.open(model_folder),
        ChatTemplate.open(model_folder),
        train_on=section.train_on,
        max_length=max_length,
        as_text=kind == "text",
        whole_documents=section.pack,
    )


def survey(
    section: DataSection,
    model_folder: Path,
    max_length: int | None,
    kind_wanted: Kind | None = None,
    notes: Path | None = None,
) -> DataFacts:
    """Look at the data as `prepare` would, writing nothing: counts, lengths, drops, detection.

    In the folder `notes` the first pass is noted, and `prepare` need not make it again.

    Rows beyond the first 20,000 are counted but not encoded: `estimated` says so.
    """
    scan = Scan(section, section.seed, notes)
    tally = scan.loaded.tally
    encoder: Encoder | None = None
    lengths, places = Lengths(), Chooser(section.seed)
    for batch in batches(scan.run(), _BATCH):
        kind = final_kind(scan.loaded, kind_wanted)
        if encoder is None:
            encoder = open_encoder(section, model_folder, kind, max_length)
        if lengths.rows < _SURVEY_ROWS:
            for example in encoder.encode(batch, kind, tally):
                lengths.add(example)
                lengths.text_bytes += len(_row_bytes(example.row))
                places.see(example.origin)
    if encoder is None:
        raise DataError("no-rows", "every training row is a row of the evaluation data")
    if lengths.rows == 0:
        raise _nothing(tally)
    inside = scan.eval_rows if section.eval_path is None else 0
    whole = lengths.rows >= tally.kept
    return build_facts(
        scan.loaded, lengths, encoder, kind=kind, train_rows=max(0, tally.kept - inside),
        eval_rows=scan.eval_rows, source_hash=source_hash(section),
        held_out=places.held_out(scan.split) if whole else None,
    )  # fmt: skip


def _nothing(tally: Tally) -> DataError:
    first = f"; the first: {tally.examples[0].where}: {tally.examples[0].reason}" if tally.examples else ""  # fmt: skip
    dropped = ", ".join(f"{count} {reason}" for reason, count in tally.dropped.items())
    return DataError(
        "nothing-to-train",
        f"no token would be trained: {tally.read} rows were read and dropped ({dropped}){first}",
        hint="stead train RECIPE --max-length auto" if "no-answer-left" in tally.dropped else None,
        **tally.to_json(),
    )


def prepare(
    section: DataSection,
    model_folder: Path,
    out: Path,
    *,
    kind_wanted: Kind | None = None,
    max_length: int | None = None,
    seed: int | None = None,
    notes: Path | None = None,
    emit: Emit = ignore,
) -> PreparedData:
    """Prepare a section for a model in a folder below `out`, named by the hash of all inputs.

    A folder that is there and verifies is taken as it is. Raises: DataError("nothing-to-train") when
    no token would be trained, and whatever reading, detection and rendering refuse.
    """
    used = section.seed if seed is None else seed
    digest = inputs_hash(
        section, model_folder, kind_wanted=kind_wanted, max_length=max_length, seed=used
    )
    folder, ready = _place(out, digest[:16])
    if ready:
        emit(Note(stage="prepare", message=f"prepared before: {folder}", code="cached"))
        return PreparedData.open(folder)
    scan = Scan(section, used, notes)
    if not scan.recall():
        for _ in scan.run():
            pass
    emit(Started(stage="prepare", total=scan.rows, unit="row"))
    work = _Work(section, model_folder, scan, kind_wanted, max_length, emit)
    facts: dict[str, Any] = {
        "inputs": digest, "max_length": max_length, "seed": used, "train_on": section.train_on,
    }  # fmt: skip
    manifest.commit(folder, "prepared-data", lambda partial: work.fill(partial, facts), facts)
    emit(Saved(stage="prepare", path=str(folder), what="prepared data"))
    emit(Finished(stage="prepare", result=facts))
    return PreparedData.open(folder)


def _place(out: Path, name: str) -> tuple[Path, bool]:
    """Return a folder that verifies, or the first free name; a damaged one is left and passed by."""
    for number in count():
        folder = out / (name if number == 0 else f"{name}-{number}")
        if not folder.exists():
            return folder, False
        try:
            manifest.verify(folder, "prepared-data")
        except CheckpointError:
            continue
        return folder, True
    raise AssertionError("count() does not end")


class _Work:
    """The second pass: encode and write."""

    def __init__(
        self,
        section: DataSection,
        model_folder: Path,
        scan: Scan,
        kind_wanted: Kind | None,
        max_length: int | None,
        emit: Emit,
    ) -> None:
        self.section, self.model, self.scan, self.emit = section, model_folder, scan, emit
        self.kind = final_kind(scan.loaded, kind_wanted)
        self.encoder = open_encoder(section, model_folder, self.kind, max_length)
        wants_blocks = self.kind == "text" and section.pack
        self.block = (BLOCK if max_length is None else max_length) if wants_blocks else None
        self.loaded = Loaded(Tally(section.on_error))
        self.done = 0

    def fill(self, folder: Path, facts: dict[str, Any]) -> None:
        """Write every file of the folder and complete `facts`, the manifest's meta."""
        lengths = Lengths()
        with ExitStack() as stack:
            outs = {
                split: stack.enter_context(_SplitWriter(folder, split, self.kind, self.block))
                for split in ("train", "eval")
            }
            for example in self._examples(self._train_rows(), self.loaded.tally):
                held = self.scan.split.is_eval(example.origin)
                outs["eval" if held else "train"].add(example)
                lengths.add(example)
            if self.section.eval_path is not None:
                other = Loaded(Tally("skip"))
                rows = load(self.section, other, evaluation=True)
                for example in self._examples(rows, other.tally):
                    outs["eval"].add(example)
        if outs["train"].labels == 0 and self.kind != "prompts":
            raise _nothing(self.loaded.tally)
        self._warn()
        found = build_facts(
            self.loaded, lengths, self.encoder, kind=self.kind, train_rows=outs["train"].examples,
            eval_rows=outs["eval"].examples, source_hash=source_hash(self.section),
        )  # fmt: skip
        facts |= {
            "kind": self.kind,
            "splits": {split: writer.rows for split, writer in outs.items()},
            "tokens": {split: writer.tokens for split, writer in outs.items()},
            "label_tokens": {split: writer.labels for split, writer in outs.items()},
            "facts": found.to_json(),
        }

    def _train_rows(self) -> Iterator[Row]:
        return train_rows(self.section, self.loaded, self.scan.held_out)

    def _examples(self, rows: Iterable[Row], tally: Tally) -> Iterator[Example]:
        counted = self._counted(batches(rows, _BATCH))
        with EncodePool(self.encoder, self.model, self.kind, children(self.scan.rows)) as pool:
            for examples in pool.encode(counted, tally):
                yield from examples
                self.emit(Progress(stage="prepare", done=self.done))

    def _counted(self, read: Iterable[list[Row]]) -> Iterator[list[Row]]:
        for batch in read:
            self.done += len(batch)
            yield batch

    def _warn(self) -> None:
        """Report what the user should know before a run; nothing is passed over silently."""
        counts, tally = self.encoder.counts, self.loaded.tally
        texts = {
            "no-end-token": (counts.endless, "rows have an answer without an end token: the model may not stop"),
            "truncated": (counts.truncated, f"rows are longer than {self.encoder.max_length} tokens and were cut"),
            "answer-cut": (counts.answers_cut, "rows lost a part of the answer to the length limit"),
            "silent-answer": (counts.silent, "rows have an answer of which no token is trained"),
            "straddling": (counts.straddling, "tokens join trained and untrained text and are not trained"),
            "invalid-rows": (tally.invalid, "rows are invalid and were left out"),
        }  # fmt: skip
        for code, (number, text) in texts.items():
            if number:
                message = f"{number} {text}"
                self.emit(Note(stage="prepare", message=message, level="warning", code=code))
        if self.encoder.template.is_default and self.kind != "text":
            message = "the model folder has no chat template; the default one is used"
            self.emit(
                Note(stage="prepare", message=message, level="warning", code="default-template")
            )


class _SplitWriter:
    """All files of one split."""

    def __init__(self, folder: Path, split: str, kind: Kind, block: int | None) -> None:
        names = _COLUMNS.get(kind, ("tokens",))
        self._columns = {n: ColumnWriter(folder / f"{split}.{n}", block) for n in names}
        scalars = _SCALARS.get(kind, ())
        self._scalars = {n: ScalarWriter(folder / f"{split}.{n}") for n in scalars}
        path = folder / f"{split}.rows.jsonl"
        self._rows = open(path, "xb")  # noqa: SIM115  house: torn-file - manifest.commit publishes
        self.examples = 0

    def add(self, example: Example) -> None:
        """Write one example."""
        for name, writer in self._columns.items():
            writer.add(example.columns[name])
        for name, scalar in self._scalars.items():
            scalar.add(example.scalars.get(name, 0.0))
        self._rows.write(_row_bytes(example.row))
        self.examples += 1

    @property
    def rows(self) -> int:
        """Rows of each column: examples, or blocks of documents."""
        return next(iter(self._columns.values())).rows

    @property
    def tokens(self) -> int:
        """Tokens of all columns."""
        return sum(writer.tokens for writer in self._columns.values())

    @property
    def labels(self) -> int:
        """Trained tokens of all columns."""
        return sum(writer.labels for writer in self._columns.values())

    def __enter__(self) -> "_SplitWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for column in self._columns.values():
            column.close()
        for scalar in self._scalars.values():
            scalar.close()
        self._rows.close()


def _row_bytes(row: Row) -> bytes:
    """Return a row's line of `rows.jsonl`."""
    return msgspec.json.encode(_kept(row)) + b"\n"


def _kept(row: Row) -> Row:
    """Return what `rows.jsonl` keeps: all of a conversation, the beginning of a document."""
    return row if row.text is None else replace(row, text=row.text[:200])


def read_rows(prepared: PreparedData, split: str) -> Iterator[Row]:
    """Yield the rows of a split, for evaluation and preview; documents only by their beginning."""
    decoder = msgspec.json.Decoder(Row)
    with open(prepared.path / f"{split}.rows.jsonl", "rb") as file:
        for line in file:
            yield decoder.decode(line)
