"""The values that flow from stage to stage; each kept one is a folder with a manifest.

Knows nothing about how a stage makes its value. RunConfig → Plan → PreparedData → LoadedModel →
Checkpoint → Report → Artifact → ModelVersion → Endpoint.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stead.core import manifest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Token sequences on disk, ready to be cut into batches; layout in `data/prepare`."""

    path: Path
    hash: str
    kind: str  # "messages" | "text" | "preference" | "labelled" | "prompts"
    splits: dict[str, int]  # split name -> rows
    meta: dict[str, Any] = field(default_factory=dict)  # Any: JSON facts (counts, lengths, drops)

    @classmethod
    def open(cls, path: Path) -> "PreparedData":
        """Open a committed folder. Raises: CheckpointError when it is torn or foreign."""
        found = manifest.read(path, "prepared-data")
        meta = found.meta
        return cls(path, found.hash, str(meta["kind"]), dict(meta["splits"]), meta)

    @property
    def columns(self) -> list[str] | None:
        """Return the columns that rewards may ask for; None: prepared before they were noted."""
        found: list[str] | None = self.meta.get("facts", {}).get("extras")
        return found


@dataclass(slots=True)
class LoadedModel:
    """A model in memory with its tokenizer; not frozen, because training changes its weights."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    folder: Path
    device: "torch.device"
    dtype: "torch.dtype"
    adapter: Path | None = None
    meta: dict[str, Any] = field(default_factory=dict)  # Any: JSON facts about how it was loaded


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A committed training state: weights, optimizer, position."""

    path: Path
    step: int
    hash: str
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "Checkpoint":
        """Open and verify a committed folder. Raises: CheckpointError naming the file."""
        found = manifest.verify(path, "checkpoint")
        return cls(path, int(found.meta["step"]), found.hash, found.meta)


@dataclass(frozen=True, slots=True)
class Report:
    """Scores with error bars of one evaluation; the files of `path` show it to people."""

    path: Path | None
    scores: dict[str, dict[str, Any]]  # metric -> {base?, tuned, delta, ci_low, ci_high, n, …}
    rows: list[dict[str, Any]]
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    """Exported files: a folder or a single file, with its SHA-256 and where it came from."""

    path: Path
    format: str
    quant: str | None
    sha256: str
    bytes: int
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered artifact: `name` and number, following hashes back to its run."""

    name: str
    version: int
    path: Path
    hash: str
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address a model answers on."""

    url: str
    model: str
    dialect: str = "openai_chat"
    token: str | None = field(default=None, repr=False)  # a secret
    pid: int | None = None
    meta: dict[str, Any] = field(default_factory=dict)
