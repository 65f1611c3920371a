"""GGUF, the single file that llama.cpp and Ollama run: f32, f16, bf16, q8_0, q4_0 or q4_K_M.

Knows nothing about how the file is laid out or how rows are quantized. One tensor is in memory at a
time; the file is there complete, or not at all.
"""

from pathlib import Path

from stead.core import files
from stead.core.events import Emit, Saved, ignore
from stead.exporting import card, gguf_model, recipe, space
from stead.exporting.exporter import Exporter
from stead.exporting.source import Source
from stead.values import Artifact


class GGUF(Exporter):
    """Writes Llama, Mistral and Qwen2 models as GGUF."""

    requires = ("numpy",)
    quants = tuple(recipe.QUANTS)

    def estimate(self, source: Source, quant: str | None) -> int:
        """Return the exact size of the file."""
        return gguf_model.plan(source, gguf_model.quant_of(quant)).size_bytes

    def export(
        self, source: Source, out: Path, *, quant: str | None = None, emit: Emit = ignore
    ) -> Artifact:
        """Write the GGUF file and its card beside it (`<name>.md`).

        Raises: ExportError("unsupported-family" | "unknown-pretokenizer" | …), ModelError, ResourceError.
        """
        kind = gguf_model.quant_of(quant)
        layout = gguf_model.plan(source, kind)
        space.check(out, layout.size_bytes)
        with files.replacing(out) as file:
            gguf_model.write(file, layout, emit)
        emit(Saved(stage="gguf", path=str(out), what=f"GGUF {kind}"))
        meta = {"notes": list(layout.notes), "source_hash": source.hash}
        made = Artifact(out, "gguf", kind, files.hash_file(out), out.stat().st_size, meta)
        files.write_text(out.with_suffix(".md"), card.write(source, made))
        return made
