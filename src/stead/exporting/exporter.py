"""The seam of exporters: a model goes in, one artifact comes out, absent or complete.

Knows nothing about any format. A format is one file in `exporting/formats` with one subclass.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from stead.core.events import Emit, ignore
from stead.core.registry import Registry
from stead.exporting.source import Source
from stead.values import Artifact


class Exporter(ABC):
    """Writes a model in one format. Nothing is overwritten; a failure leaves nothing behind."""

    requires: ClassVar[tuple[str, ...]] = ()
    quants: ClassVar[tuple[str, ...]] = ()
    """The types it can store weights in; the first is the default. () when there is no choice."""
    keeps_scores: ClassVar[bool] = False
    """Whether a reward model stays one: its head is taken along."""

    @abstractmethod
    def estimate(self, source: Source, quant: str | None) -> int:
        """Return the bytes the artifact will have on disk (weights exact, small files about)."""

    @abstractmethod
    def export(
        self, source: Source, out: Path, *, quant: str | None = None, emit: Emit = ignore
    ) -> Artifact:
        """Write the artifact to `out`. Raises: ExportError, ModelError, ResourceError("disk-full")."""


def registry() -> Registry[Exporter]:
    """Return the registry of formats."""
    return Registry("exporter", "stead.exporting.formats", base="stead.exporting.exporter:Exporter")
