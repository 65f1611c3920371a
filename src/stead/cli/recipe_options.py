"""The options that `plan` and `train` share, and how each becomes a key of the recipe.

Knows nothing about what is done with the recipe. A flag wins over the file; `-s` over both.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from stead.cli.grouped import shaped
from stead.config import load
from stead.config.options import OPTIONS
from stead.config.recipe import Given


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for: a recipe file or none, settings on top, refusals to override."""

    recipe: Path | None
    overrides: dict[str, Given] = field(default_factory=dict)
    allow: tuple[str, ...] = ()


_Recipe = Annotated[Path | None, typer.Argument(help="Recipe: .yaml, .json or .toml.")]
_Data = Annotated[
    list[str] | None, typer.Option("--data", help="File, folder or data set; may be repeated.")
]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY.PATH=VALUE", help="Set any key of the recipe."),
]
_Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", help="Override a refusal by name: memory, disk or length."),
]


def _parameters() -> list[inspect.Parameter]:
    texts = {
        option.name: Annotated[str | None, typer.Option(option.flag, help=option.help)]
        for option in OPTIONS
    }
    known = {"recipe": _Recipe, "data": _Data, **texts, "settings": _Set, "allow": _Allow}
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(name, kind, default=None, annotation=annotation)
        for name, annotation in known.items()
    ]


def recipe_command(function: Callable[..., None]) -> Callable[..., None]:
    """Turn `command(request, *, own options)` into a command with all recipe options before its own.

    Any: Typer reads the options from the signature that is built here.
    """
    shared = _parameters()
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]

    def arguments(given: dict[str, Any]) -> dict[str, Any]:  # Any: the values of the options
        mine = {p.name: given.pop(p.name) for p in shared}
        return {"request": request_of(mine), **given}

    return shaped(function, [*shared, *own], arguments)


def request_of(given: dict[str, Any]) -> Request:  # Any: the values of the options
    """Return the request that the options' values mean."""
    overrides: dict[str, Given] = {}
    if given["data"]:
        paths = given["data"]
        overrides["data.path"] = Given(paths[0] if len(paths) == 1 else paths, "option --data")
    for option in OPTIONS:
        text = given[option.name]
        if text is not None:
            value = text if option.is_text else load.value(text, f"option {option.flag}")
            overrides[option.key] = Given(value, f"option {option.flag}")
    for text in given["settings"] or ():
        key, value = load.assignment(text)
        overrides[key] = Given(value, f"option -s {key}")
    return Request(given["recipe"], overrides, tuple(given["allow"] or ()))
