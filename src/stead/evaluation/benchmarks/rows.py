"""Any rows with answers as a benchmark: all turns up to the last answer are the prompt.

Knows nothing about files or formats; `data` makes the rows.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

from stead.core.errors import DataError
from stead.data.row import Row
from stead.evaluation.benchmark import Benchmark, Item


class Rows(Benchmark):
    """Rows of any kind: chats (the last answer is the reference), preferences (the chosen answer),
    plain text (perplexity only).
    """

    def __init__(
        self, rows: Iterable[Row], *, name: str = "rows", limit: int | None = None
    ) -> None:
        """Take the first `limit` rows. Raises: DataError("no-rows" | "no-answer")."""
        self.name = name
        self._items = [item_of(row) for row in islice(rows, limit)]
        if not self._items:
            raise DataError("no-rows", f"{name!r} has no row to evaluate on")
        is_text = any(item.text is not None for item in self._items)
        self.metrics = ("perplexity",) if is_text else ("exact_match", "f1", "rougeL", "perplexity")

    def items(self) -> Sequence[Item]:
        """Return the items in the order of the rows."""
        return self._items


def item_of(row: Row) -> Item:
    """Turn one row into a question. Raises: DataError("no-answer") naming the row."""
    if row.kind == "text":
        return Item(row.where, text="" if row.text is None else row.text, meta=row.meta)
    turns = (*row.messages, *row.chosen)
    last = next((i for i in reversed(range(len(turns))) if turns[i].role == "assistant"), None)
    if not last:  # no answer at all, or an answer to nothing
        raise DataError("no-answer", f"{row.where}: there is no answer after a prompt")
    return Item(row.where, turns[:last], turns[last], tools=row.tools, meta=row.meta)
