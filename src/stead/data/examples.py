"""Rows to token sequences with masks: render, encode, mask, cut to length.

Knows nothing about files. Works on batches of rows, because the tokenizer is parallel inside.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from stead.core.errors import DataError
from stead.data.clean import Tally
from stead.data.mask import Masked, chat_needs_bos, mask_tokens, with_bos
from stead.data.row import Kind, Row
from stead.data.section import TrainOn
from stead.data.template import ChatTemplate, Rendered
from stead.data.tokenizer import TextTokenizer
from stead.messages import Message


@dataclass(frozen=True, slots=True)
class Example:
    """One row as tokens: one column for most kinds, two for preference; `scalars` are float32.

    `origin` is the row as it was read, before a method wanted another kind.
    """

    row: Row
    origin: Row
    columns: dict[str, Masked]
    scalars: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Counts:
    """What happened to rows on their way to tokens; every one of these is reported."""

    truncated: int = 0  # rows longer than the limit
    answers_cut: int = 0  # of those, rows that lost a part of what is trained
    endless: int = 0  # rows with an answer that is not ended by a stop token
    silent: int = 0  # rows with an answer of which no token is trained
    straddling: int = 0  # tokens left out because they join trained and untrained text

    def add(self, other: "Counts") -> None:
        """Take over what happened elsewhere."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def to_json(self) -> dict[str, int]:
        """Return the counts as JSON values."""
        return {
            "truncated": self.truncated,
            "answers_cut": self.answers_cut,
            "no_end_token": self.endless,
            "silent_answers": self.silent,
            "straddling_tokens": self.straddling,
        }


Pair = tuple[Row, Row]  # a row as it was read, and as the kind a method wants


def convert_kind(row: Row, wanted: Kind) -> list[Row]:
    """Return the row as rows of the kind a method wants, where that is possible.

    Raises: DataError("wrong-kind") naming both. Text stays text where messages are wanted: the whole
    document is then the answer.
    """
    if row.kind == wanted or (wanted == "text" and row.kind == "messages"):
        return [row]
    if wanted == "prompts" and row.kind in ("messages", "labelled", "preference"):
        return [
            Row(
                "prompts",
                row.where,
                messages=(*row.messages, *row.chosen),
                tools=row.tools,
                meta=row.meta,
            )
        ]
    if wanted == "messages" and row.kind in ("text", "labelled"):
        return [row] if row.kind == "text" else [replace(row, kind="messages", label=None)]
    if wanted == "messages" and row.kind == "preference":
        turns = (*row.messages, *row.chosen)
        return [Row("messages", row.where, messages=turns, tools=row.tools, meta=row.meta)]
    if wanted == "labelled" and row.kind == "preference":
        return [
            Row(
                "labelled",
                row.where,
                messages=(*row.messages, *turns),
                label=label,
                tools=row.tools,
            )
            for turns, label in ((row.chosen, True), (row.rejected, False))
        ]
    raise DataError(
        "wrong-kind", f"the rows are {row.kind!r}, but the method wants {wanted!r} rows"
    )


def convert_rows(rows: Sequence[Row], kind: Kind, tally: Tally) -> list[Pair]:
    """Return each row with the rows of the wanted kind it gives; what gives none is dropped."""
    pairs: list[Pair] = []
    for origin in rows:
        if kind == "messages" and origin.label is False:
            reason = "its label says that the answer is a bad one, and the method would learn it"
            tally.drop(origin.where, "bad-answer", reason, invalid=False)
            tally.kept -= 1
            continue
        try:
            pairs += [(origin, row) for row in convert_kind(origin, kind)]
        except DataError as error:
            tally.drop(origin.where, error.code, error.message)
            tally.kept -= 1
    return pairs


def prompt_of(row: Row) -> tuple[tuple[Message, ...], str]:
    """Return the turns to be answered, and the text of the row's own answer, "" without one."""
    if row.messages and row.messages[-1].role == "assistant":
        return row.messages[:-1], row.messages[-1].text
    return row.messages, ""


class Encoder:
    """Turns rows of one kind into examples; what cannot be is dropped into the tally with its reason.

    `as_text` makes a document of a chat; `whole_documents` leaves documents uncut for packing.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        template: ChatTemplate,
        *,
        train_on: TrainOn = "all",
        max_length: int | None = None,
        as_text: bool = False,
        whole_documents: bool = True,
    ) -> None:
        self.tokenizer, self.template = tokenizer, template
        self.as_text, self.whole_documents = as_text, whole_documents
        self.train_on: TrainOn = train_on
        self.max_length = max_length
        self.counts = Counts()
        self._stops = frozenset(tokenizer.stop_ids)
        self._bos = chat_needs_bos(tokenizer, is_default_template=template.is_default)

    def encode(self, rows: Sequence[Row], kind: Kind, tally: Tally) -> Iterator[Example]:
        """Yield the examples that a batch of rows gives for a kind, in order."""
        yield from self.encode_pairs(convert_rows(rows, kind, tally), tally)

    def encode_pairs(self, pairs: Sequence[Pair], tally: Tally) -> Iterator[Example]:
        """Yield the examples of rows that have the wanted kind already, in order."""
        kept: list[tuple[Row, Row, dict[str, Rendered]]] = []
        for origin, row in pairs:
            try:
                kept.append((origin, row, self.render(row)))
            except DataError as error:
                tally.drop(origin.where, error.code, error.message)
                tally.kept -= 1
        texts = [rendered.text for _, _, columns in kept for rendered in columns.values()]
        encodings = iter(self.tokenizer.encode_batch(texts))
        for origin, row, columns in kept:
            masked = {
                name: mask_tokens(one.text, next(encodings), one.spans, self._stops)
                for name, one in columns.items()
            }
            finished = self._finish(row, masked, tally)
            if finished is not None:
                yield Example(row, origin, finished, scalars_of(row))

    def render(self, row: Row) -> dict[str, Rendered]:
        """Return the text and trained spans of each column of a row. Raises: DataError."""
        run: Callable[..., Rendered] = self.template.render_masked
        if self._is_document(row):
            whole = row.text
            text = self.template.render(row.messages, row.tools) if whole is None else whole
            return {"tokens": Rendered(text, ((0, len(text)),))}
        if row.kind == "prompts":
            asked, _ = prompt_of(row)
            return {"tokens": Rendered(self.template.render(asked, row.tools, True), ())}
        if row.kind == "preference":
            first = len(row.messages)
            return {
                "chosen": run((*row.messages, *row.chosen), row.tools, first=first),
                "rejected": run((*row.messages, *row.rejected), row.tools, first=first),
            }
        train = "last" if row.kind == "labelled" else self.train_on
        return {"tokens": run(row.messages, row.tools, train)}

    def _is_document(self, row: Row) -> bool:
        return row.kind == "text" or self.as_text

    def _finish(
        self, row: Row, columns: dict[str, Masked], tally: Tally
    ) -> dict[str, Masked] | None:
        """Add BOS and EOS, cut to length; None (and a drop) when nothing is left to train."""
        if self._is_document(row):
            columns = {name: self._document(one) for name, one in columns.items()}
            found = columns if self.whole_documents else self._cut(columns)
        else:
            self._count(columns)
            if self._bos and self.tokenizer.bos_id is not None:
                bos = self.tokenizer.bos_id
                columns = {name: with_bos(one, bos) for name, one in columns.items()}
            found = columns if row.kind == "prompts" else self._cut(columns)
        if row.kind == "prompts" or all(any(one.mask[1:]) for one in found.values()):
            return found
        cut = any(any(one.mask[1:]) for one in columns.values())
        reason = (
            f"nothing to train in the first {self.max_length} tokens" if cut else "no answer token"
        )
        tally.drop(row.where, "no-answer-left", reason)
        tally.kept -= 1
        return None

    def _document(self, masked: Masked) -> Masked:
        """Begin a document with BOS where the model expects it, and end it with EOS."""
        ids, eos = list(masked.ids), self.tokenizer.eos_id
        if eos is not None and ids[-1:] != [eos]:
            ids.append(eos)
        whole = Masked(ids, bytearray(b"\1" * len(ids)))
        if self.tokenizer.adds_bos and self.tokenizer.bos_id is not None:
            whole = with_bos(whole, self.tokenizer.bos_id)
        return whole

    def _count(self, columns: dict[str, Masked]) -> None:
        self.counts.endless += any(one.endless for one in columns.values())
        self.counts.silent += any(one.silent for one in columns.values())
        self.counts.straddling += sum(one.straddling for one in columns.values())

    def _cut(self, columns: dict[str, Masked]) -> dict[str, Masked]:
        limit = self.max_length
        if limit is None or all(len(one.ids) <= limit for one in columns.values()):
            return columns
        self.counts.truncated += 1
        self.counts.answers_cut += any(any(one.mask[limit:]) for one in columns.values())
        return {
            name: replace(one, ids=one.ids[:limit], mask=one.mask[:limit])
            for name, one in columns.items()
        }


def scalars_of(row: Row) -> dict[str, float]:
    """Return a row's numbers that losses use: label, margin."""
    found: dict[str, Any] = {}
    if row.label is not None:
        found["label"] = float(row.label)
    if row.kind == "preference":
        found["margin"] = 0.0 if row.margin is None else row.margin
    return found
