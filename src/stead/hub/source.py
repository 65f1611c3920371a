"""The seam for places that models come from: search, list, open one file, fetch.

Knows nothing about where fetched models are kept (`library` does). A source is one file in `sources`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stead.core.events import Emit
from stead.core.paths import Home
from stead.hub.refs import Ref

Owned = Literal["link", "blobs", "hub-cache"]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file a source offers; hashes as far as the source states them."""

    name: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one model at one exact revision."""

    revision: str
    files: tuple[RemoteFile, ...]
    skipped: tuple[str, ...] = ()  # offered, but never fetched: pickles and what no loader needs


@dataclass(frozen=True, slots=True)
class Found:
    """One search result."""

    name: str
    downloads: int = 0
    likes: int = 0
    updated: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """Files that are on this machine: name -> real path; `folder` is set if they stay where they are."""

    paths: dict[str, Path]
    owned: Owned
    new: bool  # this call brought them here, so `remove` may free them
    folder: Path | None = None


class Source(ABC):
    """A place that models come from. Everything it needs arrives by its constructor."""

    def search(self, query: str, *, limit: int = 20) -> list[Found]:
        """Return models whose name or tags match; a source without a catalog finds none."""
        return []

    @abstractmethod
    def listing(self, ref: Ref) -> Listing:
        """Resolve the revision and list the files. Raises: NotFound; BackendError; UnsafeError."""

    @abstractmethod
    def open(self, ref: Ref, name: str, *, limit_bytes: int = 16 << 20) -> bytes:
        """Return the bytes of one small file. Raises: NotFound; ResourceError("too-large")."""

    @abstractmethod
    def fetch(self, ref: Ref, listing: Listing, home: Home, emit: Emit) -> Fetched:
        """Bring the files here, verified against the listing's hashes."""

    def forget(self, name: str, revision: str) -> int:
        """Free what a fetch brought into a cache outside the data directory; return the bytes."""
        return 0
