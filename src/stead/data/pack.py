"""Batches without padding: rows laid end to end, chosen by a token budget, from counters alone.

Knows nothing about models. A micro-batch is one long row of tokens with `starts` that keep its
sequences apart. Which rows are in batch *i* is a pure function of lengths, seed and epoch, so a
resume needs no saved sampler.

Shapes: T tokens of a batch, S sequences in it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stead.core import seeds
from stead.core.errors import CheckpointError, DataError
from stead.core.lazy import lazy
from stead.values import PreparedData

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")

IGNORED = -100  # the label that no loss counts, by the convention of torch's cross_entropy
_WINDOW_BATCHES = 64  # rows are shuffled over everything, then sorted by length inside a window


class TokenStore:
    """One column of one split, memory-mapped: opening it reads nothing but the offsets."""

    def __init__(self, folder: Path, split: str, column: str) -> None:
        head = folder / f"{split}.{column}"
        self._offsets = _map(head, "offsets", "int64")
        self._tokens = _map(head, "tokens", "uint32")
        self._mask = _map(head, "mask", "uint8")
        self._cuts = _map(head, "cuts", "int64") if Path(f"{head}.cuts.bin").is_file() else None
        total = int(self._offsets[-1])
        if len(self._tokens) != total or len(self._mask) != total:
            raise CheckpointError(
                "changed-file",
                f"{str(head)!r}: {len(self._tokens)} tokens and {len(self._mask)} mask bytes, "
                f"but the offsets end at {total}",
            )

    @classmethod
    def open(cls, prepared: PreparedData, split: str, column: str = "tokens") -> "TokenStore":
        """Open a column. Raises: DataError("no-split") naming those that are there."""
        if not (prepared.path / f"{split}.{column}.offsets.bin").is_file():
            have = sorted(
                p.name.removesuffix(".offsets.bin") for p in prepared.path.glob("*.offsets.bin")
            )
            message = f"the prepared data has no {split}.{column} (it has {', '.join(have)})"
            raise DataError("no-split", message)
        return cls(prepared.path, split, column)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def lengths(self) -> "np.ndarray[Any, Any]":
        """Tokens of each row, int32."""
        return np.diff(self._offsets).astype(np.int32)

    @property
    def flat(self) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]":
        """Offsets, tokens and mask of all rows, views of the files."""
        return self._offsets, self._tokens, self._mask

    def tokens(self, i: int) -> "np.ndarray[Any, Any]":
        """The row's ids, uint32, a view of the file."""
        return self._tokens[self._offsets[i] : self._offsets[i + 1]]

    def mask(self, i: int) -> "np.ndarray[Any, Any]":
        """The row's mask, uint8: 1 = trained."""
        return self._mask[self._offsets[i] : self._offsets[i + 1]]

    def cuts(self, i: int) -> list[int]:
        """Where sequences begin inside the row: [0] for an example, more for a block of documents."""
        begin, end = int(self._offsets[i]), int(self._offsets[i + 1])
        if self._cuts is None or begin == end:
            return [0]
        low, high = np.searchsorted(self._cuts, [begin + 1, end])
        return [0, *(int(c) - begin for c in self._cuts[low:high])]


def _map(head: Path, part: str, kind: str) -> Any:  # Any: a numpy memory map
    path = Path(f"{head}.{part}.bin")
    if path.stat().st_size == 0:
        return np.zeros(0, dtype=kind)
    return np.memmap(path, dtype=np.dtype(kind).newbyteorder("<"), mode="r")


def read_scalars(prepared: PreparedData, split: str, name: str) -> "np.ndarray[Any, Any]":
    """Read one number per row, float32, e.g. `label` or `margin`."""
    return np.fromfile(prepared.path / f"{split}.{name}.f32.bin", dtype="<f4")


def permutation(seed: int, epoch: int, n: int) -> "np.ndarray[Any, Any]":
    """Return `seeds.permute(seed, epoch, i, n)` for every i at once, int64."""
    half = max(1, ((n - 1).bit_length() + 1) // 2) if n else 1
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    keys = [np.uint64(seeds.stream(seed, epoch, f"permute-{r}")) for r in range(4)]
    value = np.arange(n, dtype=np.uint64)
    todo = np.arange(n)
    while len(todo):
        left, right = value[todo] >> shift, value[todo] & mask
        for key in keys:
            left, right = right, left ^ (_mix(right ^ key) & mask)
        value[todo] = (left << shift) | right
        todo = todo[value[todo] >= n]
    return value.astype(np.int64)


def _mix(value: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """`seeds._mix` on arrays: uint64 products wrap by themselves."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _mixed(n: int, key: int) -> "np.ndarray[Any, Any]":
    """Return the numbers below `n` in an order that `key` decides; for the few batches of a window."""
    return np.argsort(_mix(np.arange(n, dtype=np.uint64) ^ np.uint64(key)), kind="stable")


def plan_batches(
    lengths: "np.ndarray[Any, Any] | Sequence[int]",
    *,
    batch_tokens: int | None = None,
    batch_rows: int | None = None,
    seed: int,
    epoch: int,
    shuffle: bool = True,
) -> "list[np.ndarray[Any, Any]]":
    """Return the row indices of each micro-batch of an epoch; every row is in exactly one.

    With `batch_rows`: that many rows each (the last one what is left), in shuffled or given order.
    With `batch_tokens`: rows of like length whose sum stays within the budget; a row longer than
    the budget is a batch of its own. Empty rows are left out.
    Raises: ValueError unless exactly one of the two is given.
    """
    if (batch_tokens is None) == (batch_rows is None):
        raise ValueError("give either batch_tokens or batch_rows")
    sizes = np.asarray(lengths, dtype=np.int64)
    order = permutation(seed, epoch, len(sizes)) if shuffle else np.arange(len(sizes))
    if batch_rows is not None:
        return [order[i : i + batch_rows] for i in range(0, len(order), batch_rows)]
    assert batch_tokens is not None  # noqa: S101 - for the type checker
    order = order[sizes[order] > 0]
    if not shuffle:
        return _fill(order, sizes, batch_tokens)
    batches: list[np.ndarray[Any, Any]] = []
    for number, window in enumerate(_windows(order, sizes, batch_tokens)):
        alike = window[np.argsort(sizes[window], kind="stable")]
        filled = _fill(alike, sizes, batch_tokens)
        batches += [
            filled[i] for i in _mixed(len(filled), seeds.stream(seed, epoch, f"window-{number}"))
        ]
    return batches


def _windows(
    order: "np.ndarray[Any, Any]", sizes: "np.ndarray[Any, Any]", batch_tokens: int
) -> "list[np.ndarray[Any, Any]]":
    """Cut the order into windows of about `_WINDOW_BATCHES` batches each."""
    ends = np.cumsum(sizes[order])
    return _cut(order, ends // (batch_tokens * _WINDOW_BATCHES))


def _cut(
    order: "np.ndarray[Any, Any]", group: "np.ndarray[Any, Any]"
) -> "list[np.ndarray[Any, Any]]":
    borders = np.flatnonzero(np.diff(group)) + 1
    return [part for part in np.split(order, borders) if len(part)]


def _fill(
    order: "np.ndarray[Any, Any]", sizes: "np.ndarray[Any, Any]", batch_tokens: int
) -> "list[np.ndarray[Any, Any]]":
    """Take rows in order until the next one would pass the budget."""
    ends = np.cumsum(sizes[order]).tolist()  # a list: bisect is ten times as fast on it
    batches = []
    low = 0
    while low < len(order):
        base = ends[low - 1] if low else 0
        high = max(low + 1, bisect_right(ends, base + batch_tokens, low))
        batches.append(order[low:high])
        low = high
    return batches


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences laid end to end, without padding.

    Shapes: `tokens`, `labels`, `positions` int64 [T]; `starts` int32 [S + 1], from 0 to T.
    The label at t is token t + 1 where that token is trained and of the same sequence, else -100.
    Positions begin at 0 in each sequence. `rows` says which rows of the store these are. A sequence
    may continue an earlier one: `parents` names it, or -1; see `data/tree`.
    """

    tokens: "np.ndarray[Any, Any]"
    labels: "np.ndarray[Any, Any]"
    positions: "np.ndarray[Any, Any]"
    starts: "np.ndarray[Any, Any]"
    rows: tuple[int, ...]
    parents: tuple[int, ...] = ()


def make_batch(store: TokenStore, rows: "np.ndarray[Any, Any] | Sequence[int]") -> Batch:
    """Gather rows of a store into one batch."""
    picked = [int(i) for i in rows]
    tokens = np.concatenate([store.tokens(i) for i in picked]).astype(np.int64)
    mask = np.concatenate([store.mask(i) for i in picked])
    starts = [0]
    base = 0
    for i in picked:
        starts += [base + cut for cut in store.cuts(i)[1:]]
        base += len(store.tokens(i))
        starts.append(base)
    edges = np.asarray(starts, dtype=np.int32)
    labels = np.full(len(tokens), IGNORED, dtype=np.int64)
    labels[:-1] = np.where(mask[1:] == 1, tokens[1:], IGNORED)
    labels[edges[1:] - 1] = IGNORED  # the last token of a sequence has nothing to predict
    positions = np.arange(len(tokens)) - np.repeat(edges[:-1], np.diff(edges))
    return Batch(tokens, labels, positions.astype(np.int64), edges, tuple(picked))
