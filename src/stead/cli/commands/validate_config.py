"""Check a recipe or a file of strategies without running it: every problem with its line."""

from pathlib import Path
from typing import Annotated

import typer

from stead.cli import console, strategy_view


def command(
    file: Annotated[Path, typer.Argument(help="Recipe or strategies: .yaml, .json or .toml.")],
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Check a recipe or a file of strategies without running it: every problem with its line."""
    from stead.app.strategy_library import find
    from stead.config import load
    from stead.config.recipe import read_recipe
    from stead.config.strategy_read import is_strategy
    from stead.core.paths import Home

    if is_strategy(load.read(file)):
        found = find(file, Home.find())
        strategy_view.show_checked(found, as_json=as_json, quiet=quiet)
        return
    recipe = read_recipe(file)
    if as_json:
        asked = recipe.config.model_dump(mode="json", exclude_unset=True)
        console.out_json({"valid": True, "file": str(file), "config": asked})
    elif not quiet:
        console.out(f"{file} is a valid recipe")
