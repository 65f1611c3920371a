"""Encodes many rows in child processes, in order and with the same result as in this process.

Knows nothing about files. A child is `stead.worker.encode`; frames of MessagePack, each after its length as 4 bytes,
go to and fro. What a child cannot do (it died, a row's number is too large to send, a template does harm) is done here
again: so every error is told by this process, as if there were no children.
"""

import contextlib
import struct
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import msgspec

from stead.core import hardware
from stead.core.closing import Closing
from stead.core.errors import ProcessError
from stead.core.process import Child, converse, python
from stead.data.clean import Dropped, Tally
from stead.data.examples import Counts, Encoder, Example, Pair, convert_rows, scalars_of
from stead.data.mask import Masked
from stead.data.row import Kind, Row
from stead.data.section import TrainOn
from stead.messages import Message

MODULE = "stead.worker.encode"
WORTH_ROWS = 8000  # below, a second of encoding in all, starting children costs more than they save
_MOST = 6  # children; more wait for this process, which reads, cleans and writes in about a fifth of their time
_AHEAD = 3  # batches in flight per child
_LENGTH = struct.Struct("<I")
_END_S = 10.0


class Order(msgspec.Struct, frozen=True):
    """What a child must know: an `Encoder`'s arguments, and the kind that rows already have."""

    model_folder: str
    kind: Kind
    train_on: TrainOn
    max_length: int | None
    as_text: bool
    whole_documents: bool


class Encoded(msgspec.Struct, frozen=True):
    """A batch's answer: (row's index in the batch, column → ids as uint32 and mask), counts, drops."""

    examples: list[tuple[int, dict[str, tuple[bytes, bytes]]]]
    counts: dict[str, int]
    dropped: list[Dropped]


RowFields = tuple[
    Kind, str, tuple[Message, ...], str | None, tuple[Message, ...], tuple[Message, ...], bool | None,
    float | None, tuple[dict[str, Any], ...],
]  # fmt: skip


def write_frame(file: IO[bytes], data: bytes) -> None:
    """Write one frame."""
    file.write(_LENGTH.pack(len(data)) + data)
    file.flush()


def read_frame(file: IO[bytes]) -> bytes | None:
    """Return the next frame; None at the end. Raises: EOFError inside of one."""
    head = file.read(_LENGTH.size)
    if not head:
        return None
    data = file.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
    if len(head) < _LENGTH.size or len(data) < _LENGTH.unpack(head)[0]:
        raise EOFError("half a frame")
    return data


def pack_rows(rows: Sequence[Row]) -> bytes:
    """Return rows as a frame, without `meta`, which no token depends on."""
    return msgspec.msgpack.encode(
        [(r.kind, r.where, r.messages, r.text, r.chosen, r.rejected, r.label, r.margin, r.tools) for r in rows]
    )  # fmt: skip


def children(rows: int) -> int:
    """Return how many children are worth while for so many rows; 0: none."""
    cores = hardware.cores()
    return min(cores, _MOST) if rows >= WORTH_ROWS and cores > 1 else 0


class EncodePool(Closing):
    """Encodes batches with `count` children; with 0 in this process. Leave it with `with`."""

    def __init__(self, encoder: Encoder, model_folder: Path, kind: Kind, count: int) -> None:
        self._encoder, self._kind = encoder, kind
        self._children: list[Child] = []
        self._idle: SimpleQueue[Child] = SimpleQueue()
        self._threads = ThreadPoolExecutor(max(1, count), "encode")
        order = Order(
            str(model_folder), kind, encoder.train_on, encoder.max_length, encoder.as_text,
            encoder.whole_documents,
        )  # fmt: skip
        with contextlib.suppress(ProcessError):  # no child, then this process alone
            for _ in range(count):
                self._start(order)

    def _start(self, order: Order) -> None:
        threads = {"TOKENIZERS_PARALLELISM": "false"}  # the children are the parallelism
        child = converse(python(MODULE), name="encode", env=threads)
        self._children.append(child)
        self._idle.put(child)
        with contextlib.suppress(OSError):  # it ended at once: every batch is then done here
            assert child.process.stdin is not None  # noqa: S101 - `converse` gives pipes
            write_frame(child.process.stdin, msgspec.msgpack.encode(order))

    def encode(self, batches: Iterable[list[Row]], tally: Tally) -> Iterator[list[Example]]:
        """Yield each batch's examples, in order; see `Encoder.encode`."""
        waiting: deque[tuple[list[Pair], Future[Encoded | None] | None]] = deque()
        for rows in batches:
            pairs = convert_rows(rows, self._kind, tally)
            asked = self._threads.submit(self._ask, pairs) if self._children else None
            waiting.append((pairs, asked))
            if asked is None or len(waiting) > _AHEAD * len(self._children):
                yield self._taken(*waiting.popleft(), tally)
        while waiting:
            yield self._taken(*waiting.popleft(), tally)

    def _ask(self, pairs: list[Pair]) -> Encoded | None:
        """Let an idle child encode; None when it could not."""
        child = self._idle.get()
        try:
            source, sink = child.process.stdin, child.process.stdout
            assert source is not None  # noqa: S101 - `converse` gives pipes
            assert sink is not None  # noqa: S101
            write_frame(source, pack_rows([row for _, row in pairs]))
            answer = read_frame(sink)
            return None if answer is None else msgspec.msgpack.decode(answer, type=Encoded)
        except (OSError, EOFError, ValueError, OverflowError, msgspec.MsgspecError):
            return None
        finally:
            self._idle.put(child)

    def _taken(
        self, pairs: list[Pair], asked: "Future[Encoded | None] | None", tally: Tally
    ) -> list[Example]:
        found = None if asked is None else asked.result()
        if found is None:
            return list(self._encoder.encode_pairs(pairs, tally))
        self._encoder.counts.add(Counts(**found.counts))
        for one in found.dropped:
            tally.drop(one.where, one.code, one.reason)
            tally.kept -= 1
        return [_example(*pairs[index], columns) for index, columns in found.examples]

    def close(self) -> None:
        """End the children."""
        for child in self._children:
            with contextlib.suppress(OSError):
                assert child.process.stdin is not None  # noqa: S101 - `converse` gives pipes
                child.process.stdin.close()
        self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            if child.wait(_END_S) is None:
                child.stop(0)
            assert child.process.stdout is not None  # noqa: S101
            child.process.stdout.close()


def _example(origin: Row, row: Row, columns: dict[str, tuple[bytes, bytes]]) -> Example:
    masked = {n: Masked(_numbers(ids), bytearray(mask)) for n, (ids, mask) in columns.items()}
    return Example(row, origin, masked, scalars_of(row))


def _numbers(data: bytes) -> list[int]:
    found = array("I")
    found.frombytes(data)
    return found.tolist()


def answer(encoder: Encoder, frame: bytes) -> bytes:
    """Encode one frame of rows, as a child does."""
    rows = [Row(*one) for one in msgspec.msgpack.decode(frame, type=list[RowFields])]
    tally = Tally("skip", named=None)
    encoder.counts = Counts()
    place = {id(row): index for index, row in enumerate(rows)}
    examples = [
        (place[id(e.row)], {n: (array("I", m.ids).tobytes(), bytes(m.mask)) for n, m in e.columns.items()})
        for e in encoder.encode_pairs([(row, row) for row in rows], tally)
    ]  # fmt: skip
    counts = {f.name: getattr(encoder.counts, f.name) for f in fields(encoder.counts)}
    return msgspec.msgpack.encode(Encoded(examples, counts, tally.examples))
