"""Texts that belong together: two views of one text, or a question, its answer and a wrong one.

Knows nothing about the loss. Texts are encoded as `models/writing/local` encodes what it makes vectors of:
without a chat template.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stead.core.errors import DataError
from stead.core.lazy import lazy
from stead.data.pack import IGNORED, Batch, make_batch
from stead.data.row import Row
from stead.data.tokenizer import TextTokenizer
from stead.training.method import Store
from stead.training.rows.row_file import RowFile

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")

Views = tuple[tuple[int, ...], ...]
"""A text and what it belongs to: (anchor, positive) or (anchor, positive, negative), as ids."""


class ViewsOf:
    """The views of every row of one split. `longest` tokens of each text are used.

    Rows of text give each document twice; other rows their question and their answers. Raises:
    DataError("no-pair") for a row without a question or an answer.
    """

    def __init__(self, store: Store, tokenizer: TextTokenizer, longest: int) -> None:
        self._store, self._tokenizer, self._longest = store, tokenizer, longest
        self._rows = None if store.prepared.kind == "text" else RowFile(store.prepared, store.split)

    def lengths(self) -> Any:  # Any: int array
        """Return the tokens of each row's views together."""
        if self._rows is None:
            return self._store.lengths * 2
        return np.array(
            [sum(map(len, self.pair(self._rows[i]))) for i in range(len(self._rows))],
            dtype=np.int64,
        )

    def of(self, rows: Sequence[int]) -> list[Views]:
        """Return the views of some rows; a row of text may hold several documents."""
        if self._rows is None:
            return [(ids, ids) for ids in self._documents(rows)]
        return [self.pair(self._rows[r]) for r in rows]

    def _documents(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        whole = make_batch(next(iter(self._store.stores.values())), rows)
        found = []
        for a, b in zip(whole.starts[:-1], whole.starts[1:], strict=True):
            ids = [int(i) for i in whole.tokens[a:b]]
            if len(ids) > 1 and ids[-1] == self._tokenizer.eos_id:
                ids.pop()  # a text to be embedded has no end token
            found.append(tuple(ids[: self._longest]))
        return found

    def pair(self, row: Row) -> Views:
        """Return a row's question, answer and wrong answer. Raises: DataError("no-pair")."""
        turns, answers = list(row.messages), [row.chosen, row.rejected]
        if row.kind != "preference":
            answers = [tuple(turns[-1:])]
            turns = turns[:-1]
        texts = ["\n".join(m.text for m in part) for part in (turns, *answers)]
        if not all(texts):
            raise DataError("no-pair", f"the row {row.where} has no question or no answer")
        return tuple(self._ids(text) for text in texts)

    def _ids(self, text: str) -> tuple[int, ...]:
        ids = self._tokenizer.encode(text).ids
        bos = self._tokenizer.bos_id
        first = [bos] if self._tokenizer.adds_bos and bos is not None and ids[:1] != [bos] else []
        return tuple([*first, *ids][: self._longest])


def lay_out(views: Sequence[Views], rows: Sequence[int]) -> Batch:
    """Flatten views: all anchors, then all positives, then all negatives; nothing is labelled."""
    texts = [one[i] for i in range(len(views[0])) for one in views]
    starts = np.cumsum([0, *map(len, texts)])
    tokens = np.concatenate([np.asarray(t, dtype=np.int64) for t in texts])
    positions = np.concatenate([np.arange(len(t)) for t in texts])
    return Batch(
        tokens, np.full(len(tokens), IGNORED, dtype=np.int64), positions.astype(np.int64),
        starts.astype(np.int32), tuple(int(r) for r in rows),
    )  # fmt: skip
