"""Rows that begin alike, laid out so that what they share is computed once.

Knows nothing about models. A prompt with two answers, or with eight, becomes one sequence (the
shared beginning) and a short sequence per answer that continues it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stead.core.lazy import lazy
from stead.data.pack import IGNORED, Batch, TokenStore

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")

_ROWS = 4096  # compared at once: bounds memory, keeps the number of numpy calls small

Masked = tuple[Any, Any]
"""A row: its ids and its mask (1 = trained), arrays of one length."""


def shared_length(rows: Sequence[Masked]) -> int:
    """Return how many first tokens the rows share that no trained token is predicted from."""
    ids = [np.asarray(tokens) for tokens, _ in rows]
    most = min(len(one) for one in ids) - 1
    for tokens, mask in rows:
        trained = np.flatnonzero(np.asarray(mask)[: len(tokens)])
        most = min(most, int(trained[0]) - 1 if len(trained) else most)
    if most <= 0 or len(rows) < 2:
        return 0
    alike = np.ones(most, dtype=bool)
    for one in ids[1:]:
        alike &= one[:most] == ids[0][:most]
    return most if alike.all() else int(np.argmin(alike))


def tree_length(rows: Sequence[Masked]) -> int:
    """Return how many tokens are computed for rows laid out as one tree."""
    shared = shared_length(rows)
    return shared + sum(len(tokens) - shared for tokens, _ in rows)


def tree_lengths(stores: Sequence[TokenStore]) -> "np.ndarray[Any, Any]":
    """Return `tree_length` of every row, whose sequences are the columns' rows; int64 [rows]."""
    whole = sum(store.lengths.astype(np.int64) for store in stores)
    parts = [shared_lengths(stores, i, i + _ROWS) for i in range(0, len(stores[0]), _ROWS)]
    shared = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    return whole - (len(stores) - 1) * shared


def shared_lengths(stores: Sequence[TokenStore], begin: int, end: int) -> "np.ndarray[Any, Any]":
    """Return `shared_length` of rows `begin` to `end`, by a few operations on all of them at once."""
    most = np.min([_most(store, begin, end) for store in stores], axis=0).clip(min=0)
    if len(stores) < 2:
        return np.zeros_like(most)
    starts = np.cumsum(most) - most
    row = np.repeat(np.arange(len(most)), most)
    inside = np.arange(len(row)) - starts[row]
    picked = [s.flat[1][s.flat[0][begin:end][row] + inside] for s in stores]
    differs = np.zeros(len(row), dtype=bool)
    for other in picked[1:]:
        differs |= picked[0] != other
    return _first(np.flatnonzero(differs), starts, most)


def _most(store: TokenStore, begin: int, end: int) -> "np.ndarray[Any, Any]":
    """Return how many first tokens of each row no trained token is predicted from, the last one apart."""
    offsets, _, mask = store.flat
    edges = np.asarray(offsets[begin : end + 1], dtype=np.int64)
    lengths = np.diff(edges)
    trained = np.flatnonzero(mask[edges[0] : edges[-1]])
    first = _first(trained, edges[:-1] - edges[0], lengths)
    return np.minimum(lengths, first) - 1


def _first(
    hits: "np.ndarray[Any, Any]", starts: "np.ndarray[Any, Any]", sizes: "np.ndarray[Any, Any]"
) -> "np.ndarray[Any, Any]":
    """Return where in each stretch the first hit lies, or the stretch's size."""
    at = np.searchsorted(hits, starts)
    ends = np.append(hits, np.iinfo(np.int64).max)[at] - starts
    return np.minimum(ends, sizes).astype(np.int64)


def make_trees(groups: Sequence[Sequence[Masked]], rows: Sequence[int]) -> Batch:
    """Lay out groups of rows, each group a tree; `rows` are their numbers in the store.

    A group's sequences follow one another: what is shared (left out when nothing is), then one per
    row in the order given. Labels are as in `data/pack.make_batch`.
    """
    tokens, labels, positions, parents, starts = [], [], [], [], [0]

    def lay(ids: Any, mask: Any, first: int, parent: int) -> None:  # Any: arrays of one length
        label = np.full(len(ids), IGNORED, dtype=np.int64)
        label[:-1] = np.where(np.asarray(mask)[1:] == 1, ids[1:], IGNORED)
        tokens.append(ids)
        labels.append(label)
        positions.append(np.arange(first, first + len(ids)))
        parents.append(parent)
        starts.append(starts[-1] + len(ids))

    for group in groups:
        shared = shared_length(group)
        parent = -1
        if shared:
            first = np.asarray(group[0][0][:shared], dtype=np.int64)
            parent = len(parents)
            lay(first, np.zeros(shared), 0, -1)
        for ids, mask in group:
            lay(np.asarray(ids[shared:], dtype=np.int64), mask[shared:], shared, parent)
    return Batch(
        np.concatenate(tokens), np.concatenate(labels), np.concatenate(positions).astype(np.int64),
        np.asarray(starts, dtype=np.int32), tuple(int(r) for r in rows), tuple(parents),
    )  # fmt: skip
