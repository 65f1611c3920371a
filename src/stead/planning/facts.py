"""What a plan needs to know about model and data: plain values, so that no other room is needed.

Knows nothing about how the facts were found. `hub.inspect` and `data.survey` return values of
these shapes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class ModelFacts(Protocol):
    """The part of `hub.info.ModelInfo` that planning reads."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def architecture(self) -> str: ...  # noqa: D102
    @property
    def family(self) -> str: ...  # noqa: D102
    @property
    def parameters(self) -> int: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def context_length(self) -> int: ...  # noqa: D102
    @property
    def vocab_size(self) -> int: ...  # noqa: D102
    @property
    def hidden_size(self) -> int: ...  # noqa: D102
    @property
    def intermediate_size(self) -> int: ...  # noqa: D102
    @property
    def layers(self) -> int: ...  # noqa: D102
    @property
    def tied(self) -> bool: ...  # noqa: D102
    @property
    def has_template(self) -> bool: ...  # noqa: D102
    @property
    def hash(self) -> str: ...  # noqa: D102
    @property
    def tensors(self) -> Mapping[str, tuple[str, tuple[int, ...]]]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class DataFacts:
    """Counts of the rows that would be trained on, after cleaning, at the surveyed length.

    `lengths` holds percentiles of a row's tokens: p50, p90, p99, max. `rows` and `tokens` are those
    of the training split; `label_tokens` are the ones with a loss. `quantiles` are lengths at evenly
    spaced ranks, the shortest and the longest included. `sizes`: each training row's tokens, in the order
    of the file; `trees`: likewise, of all columns, what they share once. Both are empty where only the first
    rows were read. `text_bytes`: of the training rows as prepared data keep them beside their tokens; 0: not counted.
    `columns` are those of the first rows, `extras` those with plain cells, which rewards may ask for; `answered` rows have an answer of their own.
    None: nobody has looked. `folders`: what is read of each folder, in words.
    """

    rows: int
    tokens: int
    label_tokens: int
    lengths: Mapping[str, int]
    hash: str
    eval_rows: int = 0
    kind: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)
    truncated: int = 0
    readers: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    explanation: str = ""
    quantiles: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    trees: tuple[int, ...] = ()
    text_bytes: int = 0
    columns: tuple[str, ...] = ()
    extras: tuple[str, ...] | None = None
    answered: int | None = None
    folders: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """Return plain JSON values."""
        return {
            "rows": self.rows,
            "eval_rows": self.eval_rows,
            "tokens": self.tokens,
            "label_tokens": self.label_tokens,
            "lengths": dict(self.lengths),
            "kind": self.kind,
            "dropped": dict(self.dropped),
            "truncated": self.truncated,
            "readers": list(self.readers),
            "formats": list(self.formats),
            "explanation": self.explanation,
            "hash": self.hash,
        }


MODEL_KEYS = (
    "architecture", "family", "parameters", "dtype", "context_length", "vocab_size", "hidden_size",
    "intermediate_size", "layers", "tied", "has_template", "hash",
)  # fmt: skip


def model_dict(model: ModelFacts) -> dict[str, Any]:  # Any: JSON values
    """Return the facts of a model that a plan keeps, as JSON values."""
    return {"path": str(model.path), **{key: getattr(model, key) for key in MODEL_KEYS}}
