"""An adapter as a folder of its own, in PEFT's format, verified before it is passed on.

Knows nothing about training. What leaves here loads in PEFT and names its base.
"""

import shutil
from pathlib import Path

from stead.core import files, manifest
from stead.core.errors import ConfigError, ExportError
from stead.core.events import Emit, Saved, ignore
from stead.exporting import card, space
from stead.exporting.exporter import Exporter
from stead.exporting.source import Source
from stead.models import heads, lineage, merge
from stead.models.deltas import MERGEABLE
from stead.models.peft_files import QUANTIZATION
from stead.values import Artifact


class AdapterFolder(Exporter):
    """Copies an adapter whose tensors were checked against its base."""

    keeps_scores = True

    def estimate(self, source: Source, quant: str | None) -> int:
        """Return the bytes of the adapter's files."""
        return sum(p.stat().st_size for p in _files(source))

    def export(
        self, source: Source, out: Path, *, quant: str | None = None, emit: Emit = ignore
    ) -> Artifact:
        """Write the folder. Raises: ExportError("no-adapter"), ModelError when it does not fit."""
        if quant is not None:
            raise ConfigError("unknown-quant", f"an adapter is copied as it is, not as {quant!r}")
        paths = _files(source)
        _check(source)  # fits its base, or is not passed on
        space.check(out, self.estimate(source, quant))

        def fill(folder: Path) -> None:
            for path in paths:
                shutil.copyfile(path, folder / path.name)
            files.write_text(folder / "README.md", card.write(source, None))

        made = manifest.commit(out, "adapter", fill, {"source_hash": source.hash})
        emit(Saved(stage="adapter", path=str(out), what="adapter folder"))
        size = sum(int(entry["bytes"]) for entry in made.files.values())
        return Artifact(out, "adapter", None, made.hash, size, {"source_hash": source.hash})


def _files(source: Source) -> list[Path]:
    if source.adapter is None:
        raise ExportError("no-adapter", f"{str(source.folder)!r} is a whole model, no adapter")
    kept = {
        merge.CONFIG,
        merge.TENSORS,
        QUANTIZATION,
        lineage.RECORD,
        *merge.COMPANIONS,
        *heads.FILES,
    }
    return [p for p in sorted(source.adapter.iterdir()) if p.is_file() and p.name in kept]


def _check(source: Source) -> None:
    """Refuse an adapter that does not fit its base; one of no weights by its record alone."""
    config = files.read_json(source.folder / merge.CONFIG)
    if config.get("peft_type") in MERGEABLE:
        merge.Merged.open(source.base, source.folder)
    else:
        lineage.check_base(source.base, source.folder, config)
