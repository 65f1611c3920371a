"""What this room reads of the configuration: two structural types, so that it needs no pydantic.

Knows nothing about where the values come from; `config/run.DataSection` has this shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

OnError = Literal["refuse", "skip"]
TrainOn = Literal["all", "last"]


class DataSection(Protocol):
    """The data part of a run: where the rows are and how they become examples.

    `path` is one source or several; a source is text (`file`, `folder`, `hf:org/name`) or an object
    with `path` and maybe its own `reader`, `format`, `columns`, `split`, `limit` and `weight`.
    """

    @property
    def path(self) -> str | Sequence[Any]: ...  # Any: str or a source object
    @property
    def reader(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def columns(self) -> Mapping[str, str]: ...
    @property
    def split(self) -> str | None: ...
    @property
    def eval_path(self) -> str | None: ...
    @property
    def eval_share(self) -> float: ...
    @property
    def limit(self) -> int | None: ...
    @property
    def on_error(self) -> OnError: ...
    @property
    def dedupe(self) -> bool: ...
    @property
    def train_on(self) -> TrainOn: ...
    @property
    def seed(self) -> int: ...
    @property
    def streaming(self) -> bool: ...
    @property
    def pack(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Section:
    """A plain `DataSection`, for the command line and for tests."""

    path: str | Sequence[Any]
    reader: str = "auto"
    format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    eval_path: str | None = None
    eval_share: float = 0.1
    limit: int | None = None
    on_error: OnError = "skip"
    dedupe: bool = True
    train_on: TrainOn = "all"
    seed: int = 42
    streaming: bool = False
    pack: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """One place rows come from, with the section's choices applied."""

    path: str
    reader: str = "auto"
    format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    limit: int | None = None
    streaming: bool = False


def sources(section: DataSection, *, evaluation: bool = False) -> list[Source]:
    """Return the sources of a section, or of its own evaluation data."""
    given: str | Sequence[Any] = section.path
    if evaluation:
        given = () if section.eval_path is None else section.eval_path
    listed = [given] if isinstance(given, str) else list(given)
    return [_source(one, section) for one in listed]


def _source(one: Any, section: DataSection) -> Source:  # Any: str or a source object
    def pick(name: str) -> Any:  # Any: the type of that attribute
        own = None if isinstance(one, str) else getattr(one, name, None)
        return getattr(section, name) if own in (None, "auto", {}) else own

    return Source(
        path=one if isinstance(one, str) else str(one.path),
        reader=pick("reader"),
        format=pick("format"),
        columns=dict(pick("columns")),
        split=pick("split"),
        limit=None if isinstance(one, str) else getattr(one, "limit", None),
        streaming=section.streaming,
    )
