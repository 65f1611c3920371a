"""The stage: a model in, one artifact out, as JSON values for any surface.

Knows nothing about formats or surfaces.
"""

import time
from pathlib import Path
from typing import Any

from stead.core.errors import ConfigError
from stead.core.events import Emit, Note, ignore
from stead.exporting.exporter import registry
from stead.exporting.source import Source
from stead.models.heads import refuse_scores


def run_export(
    model: str,
    out: str,
    *,
    format: str = "gguf",
    quant: str | None = None,
    base: str | None = None,
    emit: Emit = ignore,
) -> dict[str, Any]:  # Any: JSON values
    """Export `model` (run, adapter or model folder, or an added name) to `out`.

    `base` names the base of an adapter when the recorded place is gone. Returns path, format, quant,
    bytes, estimated_bytes, sha256, seconds, notes, source_hash.
    Raises: ConfigError("unknown-exporter" | "unknown-quant" | "exists"), ModelError, ExportError,
    ResourceError("disk-full").
    """
    begun = time.monotonic()
    if out.strip() == "":
        raise ConfigError("no-out", "the place to write to is empty")
    exporter = registry().create(format)
    source = Source.open(model, base=base)
    if not exporter.keeps_scores:
        refuse_scores(source.folder)
    estimated = exporter.estimate(source, quant)
    text = f"{format} of {source.name!r}: {estimated / 1e6:,.1f} MB to write"
    emit(Note(stage="export", message=text, code="estimate"))
    made = exporter.export(source, Path(out).absolute(), quant=quant, emit=emit)
    return {
        "path": str(made.path),
        "format": made.format,
        "quant": made.quant,
        "bytes": made.bytes,
        "estimated_bytes": estimated,
        "sha256": made.sha256,
        "seconds": round(time.monotonic() - begun, 3),
        "notes": list(made.meta.get("notes", ())),
        "source_hash": source.hash,
    }
