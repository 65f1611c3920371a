"""Check a recipe without running it: every problem with its line."""

from pathlib import Path
from typing import Annotated

import typer

from stead.cli import console


def command(
    file: Annotated[Path, typer.Argument(help="Recipe: .yaml, .json or .toml.")],
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Check a recipe without running it: every problem with its line."""
    from stead.config.recipe import read_recipe

    recipe = read_recipe(file)
    if as_json:
        asked = recipe.config.model_dump(mode="json", exclude_unset=True)
        console.out_json({"valid": True, "file": str(file), "config": asked})
    elif not quiet:
        console.out(f"{file} is a valid recipe")
