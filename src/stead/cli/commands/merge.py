"""Lay an adapter over its base and write a plain model folder."""

from pathlib import Path
from typing import Annotated

import typer

from stead.cli import console

Adapter = Annotated[str, typer.Argument(help="Run or adapter folder.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write; must be free.")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto (as the base), fp32, bf16 or fp16.")]
Base = Annotated[str | None, typer.Option("--base", help="Base model of an adapter that moved.")]


def command(
    adapter: Adapter,
    out: Out,
    dtype: Dtype = "auto",
    base: Base = None,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Lay an adapter over its base and write a plain model folder."""
    from stead.app import exports

    with console.progress(quiet=quiet) as emit:
        made = exports.export(adapter, out, format="merged", quant=dtype, base=base, emit=emit)
    if as_json:
        console.out_json(made)
        return
    console.out(f"{made['path']}  {made['bytes']:,} bytes  {made['seconds']:.1f} s")
