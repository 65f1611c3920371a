"""The prompts of a split: each row's turns before its last answer, ready to be continued.

Knows nothing about models or rewards. Rows are found by their place in the file, so memory does not
grow with their texts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.core.errors import DataError
from stead.core.events import Emit, Note
from stead.data.examples import prompt_of
from stead.data.mask import chat_needs_bos
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.messages import Message
from stead.training.rows.row_file import RowFile
from stead.values import PreparedData


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
        self._rows = RowFile(prepared, split)
        self._limit, self._on_cut = limit, on_cut

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Prompt:
        """Return one row's prompt. Raises: DataError("no-prompt") for a row without a question."""
        found = self._rows[row]
        messages, reference = prompt_of(found)
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


class CutNote:
    """Tells once that prompts are cut, with the first one's place."""

    def __init__(self, emit: Emit, limit: int) -> None:
        self._emit, self._limit, self._told = emit, limit, False

    def __call__(self, where: str, tokens: int) -> None:
        """Tell it, unless it was told."""
        if self._told:
            return
        self._told = True
        message = f"prompts longer than {self._limit} tokens lose their beginning; the first: {where} ({tokens} tokens)"
        self._emit(Note(stage="train", message=message, level="warning", code="prompt-cut"))
