"""Print the JSON Schema of recipes, settings and strategies, registered extensions included."""

import json
from pathlib import Path
from typing import Annotated

import typer

from stead.cli import console


def command(
    name: Annotated[
        str | None, typer.Argument(help="run, settings, strategy or catalog; default: all.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write to a file.")] = None,
    as_json: console.Json = False,
) -> None:
    """Print the JSON Schema of recipes, settings and strategies, registered extensions included."""
    from stead.config.schema import schema, schemas
    from stead.core import files

    found = schemas() if name is None else schema(name)
    if out is not None:
        files.write_json(out, found)
        console.note(f"written {out}")
    elif as_json:
        console.out_json(found)
    else:
        console.out(json.dumps(found, indent=2, ensure_ascii=False))
