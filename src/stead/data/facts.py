"""What is known about a data set before training on it: counts, lengths, drops, how it was read.

Knows nothing about how the rows came about.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stead.data.examples import Encoder, Example
from stead.data.row import Kind, Row
from stead.data.rows import Loaded
from stead.data.tree import tree_length

_PERCENTILES = (50, 90, 95, 99)


def summarize(values: Sequence[int]) -> dict[str, float]:
    """Return min, mean, percentiles (nearest rank) and max; {} for no values."""
    if not values:
        return {}
    ordered = sorted(values)
    ranks = {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in _PERCENTILES}
    mean = round(sum(ordered) / len(ordered), 2)
    return {"min": ordered[0], "mean": mean, **ranks, "max": ordered[-1]}


class Shape:
    """How rows look before they are tokens: turns, roles, characters. Memory: 4 bytes per row."""

    def __init__(self) -> None:
        self.turns: Counter[int] = Counter()
        self.roles: Counter[str] = Counter()
        self.chars = array("I")
        self.with_tools = 0

    def add(self, row: Row) -> None:
        """Take note of one row."""
        turns = (*row.messages, *row.chosen)
        if turns:
            self.turns[len(turns)] += 1
            self.roles.update(message.role for message in turns)
        answers = (*row.messages, *row.chosen, *row.rejected)
        texts = [row.text] if row.text is not None else [m.text for m in answers]
        self.chars.append(sum(map(len, texts)))
        self.with_tools += bool(row.tools)

    def to_json(self) -> dict[str, Any]:
        """Return the shape as JSON values."""
        return {
            "rows": len(self.chars),
            "chars": summarize(self.chars),
            "turns": {str(k): n for k, n in sorted(self.turns.items())},
            "turns_total": sum(k * n for k, n in self.turns.items()),
            "roles": dict(sorted(self.roles.items())),
            "rows_with_tools": self.with_tools,
        }


@dataclass(frozen=True, slots=True)
class Learnt:
    """The training rows one by one, in the order of the file. Units: tokens.

    `sizes`: of the longer column; `trees`: of all columns, their shared beginning once; `stored`: of all columns.
    """

    sizes: list[int]
    trees: list[int]
    stored: list[int]
    labels: int


class Lengths:
    """Token counts of examples. Memory: 16 bytes per row."""

    def __init__(self) -> None:
        self._lengths, self._labels = array("i"), array("i")
        self._stored, self._trees = array("i"), array("i")
        self.tokens = self.text_bytes = 0

    def add(self, example: Example) -> None:
        """Take note of one example; a pair is as long as its longer column."""
        columns = example.columns.values()
        self._lengths.append(max(len(one.ids) for one in columns))
        self._labels.append(sum(one.mask.count(1, 1) for one in columns))
        self._stored.append(sum(len(one.ids) for one in columns))
        pairs = [(one.ids, list(one.mask)) for one in columns] if len(columns) > 1 else []
        self._trees.append(tree_length(pairs) if pairs else self._stored[-1])
        self.tokens += self._stored[-1]

    def learnt(self, held_out: Sequence[bool]) -> Learnt:
        """Return the rows that are not held out; one flag per example."""
        kept = [i for i, held in enumerate(held_out) if not held]
        sizes, trees, stored, labels = (
            [of[i] for i in kept] for of in (self._lengths, self._trees, self._stored, self._labels)
        )
        return Learnt(sizes, trees, stored, sum(labels))

    @property
    def rows(self) -> int:
        """Examples seen."""
        return len(self._lengths)

    @property
    def labels(self) -> int:
        """Trained tokens of all."""
        return sum(self._labels)

    def quantiles(self, points: int = 129) -> list[int]:
        """Return the lengths at evenly spaced ranks, the shortest and the longest included."""
        ordered, last = sorted(self._lengths), len(self._lengths) - 1
        return [ordered[round(i * last / (points - 1))] for i in range(points)] if ordered else []

    def summary(self) -> dict[str, float]:
        """Return min, mean, percentiles and max of the lengths, in tokens."""
        return summarize(self._lengths)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """A data set in numbers. `tokens` and `label_tokens` count training and evaluation rows.

    `estimated`: only the first rows were encoded, and the token counts are scaled to all.
    `hash` is the SHA-256 of the sources' content. `extras`: columns that rewards may ask for;
    `answered`: rows with an answer of their own.
    """

    kind: Kind
    rows: int
    train_rows: int
    eval_rows: int
    tokens: int
    label_tokens: int
    lengths: dict[str, float]
    dropped: dict[str, int]
    read: int
    hash: str
    max_length: int | None
    estimated: bool
    readers: list[str] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    examples: list[dict[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    default_template: bool = False
    quantiles: list[int] = field(default_factory=list)
    text_bytes: int = 0  # of all rows as prepared data keep them beside their tokens
    learnt: Learnt | None = None  # where every row was encoded
    extras: list[str] = field(default_factory=list)
    answered: int = 0
    folders: list[str] = field(default_factory=list)

    @property
    def train_tokens(self) -> int:
        """Tokens of the training rows: counted, or their share of all rows."""
        if self.learnt is not None:
            return sum(self.learnt.stored)
        return round(self.tokens * self.train_rows / max(1, self.rows))

    @property
    def train_labels(self) -> int:
        """Trained tokens of the training rows: counted, or their share of all rows."""
        if self.learnt is not None:
            return self.learnt.labels
        return round(self.label_tokens * self.train_rows / max(1, self.rows))

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values, without single rows."""
        found = asdict(self) | {"train_tokens": self.train_tokens}
        del found["learnt"]
        return found


def build_facts(
    loaded: Loaded,
    lengths: Lengths,
    encoder: Encoder,
    *,
    kind: Kind,
    train_rows: int,
    eval_rows: int,
    source_hash: str,
    held_out: Sequence[bool] | None = None,
) -> DataFacts:
    """Gather what the passes over the data found. `held_out`: one flag per example, where all were."""
    rows = train_rows + eval_rows
    scale = max(1.0, rows / max(1, lengths.rows))
    report = loaded.tally.to_json()
    return DataFacts(
        kind=kind,
        rows=rows,
        train_rows=train_rows,
        eval_rows=eval_rows,
        tokens=round(lengths.tokens * scale),
        label_tokens=round(lengths.labels * scale),
        lengths=lengths.summary(),
        dropped=report["dropped"],
        read=report["read"],
        hash=source_hash,
        max_length=encoder.max_length,
        estimated=rows > lengths.rows,
        readers=[one.name for one in loaded.readers],
        formats=[one.name for one in loaded.formats],
        why=[f"{r.why}; {f.why}" for r, f in zip(loaded.readers, loaded.formats, strict=False)],
        columns=loaded.columns,
        examples=report["examples"],
        counts=encoder.counts.to_json(),
        default_template=encoder.template.is_default,
        quantiles=lengths.quantiles(),
        text_bytes=round(lengths.text_bytes * scale),
        learnt=None if held_out is None else lengths.learnt(held_out),
        extras=sorted(loaded.extras),
        answered=loaded.answered,
        folders=loaded.folders,
    )
