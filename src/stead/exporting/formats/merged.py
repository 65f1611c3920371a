"""A plain model folder in safetensors: an adapter laid over its base, or a copy in another type.

Knows nothing about how merging works. The folder is complete with tokenizer, template and manifest.
"""

from pathlib import Path

from stead.core.errors import ConfigError
from stead.core.events import Emit, Saved, ignore
from stead.exporting import card, space
from stead.exporting.exporter import Exporter
from stead.exporting.source import Source
from stead.models import merge, weights
from stead.values import Artifact

_SMALL_BYTES = 8 << 20  # config, tokenizer, card: about


class Merged(Exporter):
    """Writes a model folder that transformers and stead load."""

    requires = ("numpy",)
    quants = ("auto", *weights.DTYPES)
    keeps_scores = True

    def estimate(self, source: Source, quant: str | None) -> int:
        """Return about how many bytes the folder will have; the weights' share is exact."""
        tensors, dtype = source.tensors(), _dtype(quant)
        size = _SMALL_BYTES
        for name in tensors.names():
            count = weights.FLOAT_BYTES[weights.DTYPES.get(dtype, tensors.dtype(name))]
            for n in tensors.shape(name):
                count *= n
            size += count
        return size

    def export(
        self, source: Source, out: Path, *, quant: str | None = None, emit: Emit = ignore
    ) -> Artifact:
        """Write the folder, with the card as its README.md.

        Raises: ModelError("base-quantized" | "wrong-base" | "adapter-shape" | …), ResourceError.
        """
        dtype = _dtype(quant)
        space.check(out, self.estimate(source, quant))
        made = merge.write_model(
            source.tensors(),
            source.base,
            source.adapter,
            out,
            dtype=dtype,
            texts={"README.md": card.write(source, None)},
            emit=emit,
        )
        emit(Saved(stage="merge", path=str(out), what="model folder"))
        size = sum(int(entry["bytes"]) for entry in made.files.values())
        return Artifact(out, "merged", dtype, made.hash, size, {"source_hash": source.hash})


def _dtype(quant: str | None) -> str:
    wanted = "auto" if quant is None else quant
    if wanted not in Merged.quants:
        raise ConfigError(
            "unknown-dtype", f"there is no type {wanted!r} (known: {', '.join(Merged.quants)})"
        )
    return wanted
