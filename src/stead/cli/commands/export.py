"""Write a model as GGUF, as a merged folder, as an adapter or for Ollama."""

from pathlib import Path
from typing import Annotated

import typer

from stead.cli import console

Model = Annotated[str, typer.Argument(help="Run, adapter or model folder, or an added name.")]
Format = Annotated[str, typer.Option("--format", help="gguf, merged, adapter or ollama.")]
Quant = Annotated[
    str | None,
    typer.Option("--quant", help="gguf: f32 f16 bf16 q8_0 q4_0 q4_K_M; merged: fp32 bf16 fp16."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File or folder to write; must be free.")]
Base = Annotated[str | None, typer.Option("--base", help="Base model of an adapter that moved.")]


def command(
    model: Model,
    out: Out,
    format: Format = "gguf",
    quant: Quant = None,
    base: Base = None,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Write a model as GGUF, as a merged folder, as an adapter or for Ollama."""
    from stead.app import exports

    with console.progress(quiet=quiet) as emit:
        made = exports.export(model, out, format=format, quant=quant, base=base, emit=emit)
    if as_json:
        console.out_json(made)
        return
    rows = {
        "path": made["path"],
        "format": " ".join(filter(None, (made["format"], made["quant"]))),
        "bytes": f"{made['bytes']:,}",
        "sha256": made["sha256"],
        "seconds": f"{made['seconds']:.1f}",
    }
    for name, value in rows.items():
        console.out(f"{name:<8} {value}")
    for note in made["notes"]:
        console.note(f"note: {note}")
