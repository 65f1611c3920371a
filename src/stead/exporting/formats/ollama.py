"""For Ollama: a folder with the GGUF file and a Modelfile whose template and stops are the model's own.

Knows nothing about running Ollama. One fixed template for every model is what makes fine-tunes behave
differently there; a template that Go's language cannot say exactly is refused with the reason.
Source: Ollama docs/modelfile.md and docs/template.md.
"""

import json
from pathlib import Path

from stead.core import files, manifest
from stead.core.errors import ExportError
from stead.core.events import Emit, Saved, ignore
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.exporting import card, frames, gguf_model, recipe, space
from stead.exporting.exporter import Exporter
from stead.exporting.frames import Frames
from stead.exporting.source import Source
from stead.values import Artifact

_TRIMS = "the template trims white space around each message; Ollama does not"
_GGUF, _MODELFILE = "model.gguf", "Modelfile"


class Ollama(Exporter):
    """Writes a folder for `ollama create NAME -f Modelfile`."""

    requires = ("numpy",)
    quants = tuple(recipe.QUANTS)

    def estimate(self, source: Source, quant: str | None) -> int:
        """Return the size of the GGUF file, which is nearly all of it."""
        return gguf_model.plan(source, gguf_model.quant_of(quant)).size_bytes

    def export(
        self, source: Source, out: Path, *, quant: str | None = None, emit: Emit = ignore
    ) -> Artifact:
        """Write the folder. Raises: ExportError("template-not-framed" | …), ModelError, ResourceError."""
        kind = gguf_model.quant_of(quant)
        layout = gguf_model.plan(source, kind)
        found = frames.find(ChatTemplate.open(source.tokenizer))
        adds_bos = layout.metadata["tokenizer.ggml.add_bos_token"] is True
        words = modelfile(source, found, adds_bos=adds_bos)
        space.check(out, layout.size_bytes)

        def fill(folder: Path) -> None:
            with files.replacing(folder / _GGUF) as file:
                gguf_model.write(file, layout, emit)
            files.write_text(folder / _MODELFILE, words)
            files.write_text(folder / "README.md", card.write(source, None))

        made = manifest.commit(out, "ollama", fill, {"source_hash": source.hash})
        emit(Saved(stage="ollama", path=str(out), what=f"Ollama folder {kind}"))
        size = sum(int(entry["bytes"]) for entry in made.files.values())
        notes = [*layout.notes, *([_TRIMS] if found.trims else [])]
        meta = {"notes": notes, "source_hash": source.hash}
        return Artifact(out, "ollama", kind, made.hash, size, meta)


def modelfile(source: Source, found: Frames, *, adds_bos: bool) -> str:
    """Return the Modelfile: the GGUF beside it, the template in Go's language, the real stop set."""
    tokenizer = TextTokenizer.open(source.tokenizer)
    bos = "" if tokenizer.bos_id is None else str(tokenizer.token(tokenizer.bos_id))
    opening = found.opening.removeprefix(bos) if adds_bos else found.opening
    lines = [f"FROM ./{_GGUF}", f'TEMPLATE """{_go(found, opening)}"""']
    for i in tokenizer.stop_ids:
        lines.append(f"PARAMETER stop {json.dumps(tokenizer.token(i), ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _go(found: Frames, opening: str) -> str:
    """Return the frames as a Go template over `.Messages`; Ollama always asks for an answer."""
    parts = [_text(opening), "{{ range .Messages }}"]
    for number, (role, (before, after)) in enumerate(found.around.items()):
        parts.append("{{ " + ("else if" if number else "if") + f' eq .Role "{role}" }}}}')
        parts += [_text(before), "{{ .Content }}", _text(after)]
    parts += ["{{ end }}{{ end }}", _text(found.answer)]
    words = "".join(parts)
    if '"""' in words:
        raise ExportError("template-not-framed", 'the chat template holds """, a Modelfile cannot')
    return words


def _text(text: str) -> str:
    """Return literal text; braces and quotes as a Go string, so that nothing of it is a command."""
    if "{{" not in text and "}}" not in text and '"""' not in text:
        return text
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}"
