"""The prompts of a split: each row's turns before its last answer, ready to be continued.

Knows nothing about models or rewards. Rows are found by their place in the file, so memory does not
grow with their texts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from stead.core.errors import DataError
from stead.core.lazy import lazy
from stead.data.mask import chat_needs_bos
from stead.data.row import Row
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.messages import Message
from stead.values import PreparedData

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: its ids, ending where the answer begins, and what rewards may look at."""

    row: int
    ids: list[int]
    where: str
    messages: tuple[Message, ...]
    reference: str
    columns: dict[str, Any]  # Any: JSON values of extra columns


class Prompts:
    """The prompts of one split. `on_cut(row, tokens)` is told when a prompt loses its beginning."""

    def __init__(
        self, model_folder: Path, prepared: PreparedData, split: str, limit: int,
        on_cut: Callable[[str, int], None],
    ) -> None:  # fmt: skip
        self.tokenizer = TextTokenizer.open(model_folder)
        self._template = ChatTemplate.open(model_folder)
        self._bos = chat_needs_bos(self.tokenizer, is_default_template=self._template.is_default)
        self._path = prepared.path / f"{split}.rows.jsonl"
        if not self._path.is_file():
            raise DataError("no-split", f"the prepared data has no {self._path.name!r}")
        self._places = _places(self._path)
        self._decoder = msgspec.json.Decoder(Row)
        self._limit, self._on_cut = limit, on_cut

    def __len__(self) -> int:
        return len(self._places) - 1

    def __getitem__(self, row: int) -> Prompt:
        """Return one row's prompt. Raises: DataError("no-prompt") for a row without a question."""
        with open(self._path, "rb") as file:
            file.seek(int(self._places[row]))
            found = self._decoder.decode(file.readline())
        messages, reference = found.messages, ""
        if messages and messages[-1].role == "assistant":
            messages, reference = messages[:-1], messages[-1].text
        if not messages:
            raise DataError("no-prompt", f"the row {found.where} has no turn before its answer")
        text = self._template.render(messages, found.tools, add_generation_prompt=True)
        ids = list(self.tokenizer.encode(text).ids)
        bos = self.tokenizer.bos_id
        if self._bos and bos is not None and ids[:1] != [bos]:
            ids = [bos, *ids]
        if len(ids) > self._limit:
            self._on_cut(found.where, len(ids))
            ids = ids[-self._limit :]
        return Prompt(row, ids, found.where, messages, reference, dict(found.meta))


def _places(path: Path) -> Any:  # Any: int64 [rows + 1]
    """Return where each line begins, and the end."""
    ends, total = [0], 0
    with open(path, "rb") as file:
        for line in file:
            total += len(line)
            ends.append(total)
    return np.array(ends, dtype=np.int64)
