"""List, show, choose, check, try and export strategies.

Knows nothing about what a strategy does.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from stead.cli import console, strategy_view

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="STRATEGY", help="Name, use case or file[:name].")]


@app.command("list")
def list_strategies(as_json: console.Json = False, quiet: console.Quiet = False) -> None:
    """List the strategies that are installed, with their use cases."""
    from stead.app import strategy_library
    from stead.app.strategy_library import Library
    from stead.core.errors import ConfigError
    from stead.core.paths import Home

    home = Home.find()
    library = Library.of(home)
    try:
        chosen = strategy_library.in_use(home)
    except ConfigError:
        chosen = ""
    cases = library.use_cases()
    rows: list[dict[str, Any]] = [  # Any: JSON values
        {
            "name": f.strategy.name,
            "description": f.strategy.description,
            "in_use": f.strategy.name == chosen,
            "use_cases": [case for case, names in cases.items() if f.strategy.name in names],
            "off": dict(f.off),
            "file": str(f.path),
        }
        for f in library.all()
    ]
    if as_json:
        console.out_json({"strategies": rows, "use_cases": cases})
        return
    for row in rows:
        console.out(f"{'*' if row['in_use'] else ' '} {row['name']}: {row['description']}")
        if not quiet and row["use_cases"]:
            console.out(f"      for {', '.join(row['use_cases'])}")


@app.command()
def show(name: Name, as_json: console.Json = False) -> None:
    """Show a strategy as it is written, and which of its parts can be used here."""
    from stead.app import strategies, strategy_library
    from stead.config.load import dump_yaml
    from stead.core.errors import ConfigError
    from stead.core.paths import Home

    home = Home.find()
    found = strategy_library.find(name, home)
    try:
        made = strategies.composed(found, home)
    except ConfigError:  # a strategy that only trains
        made = None
    states = strategies.part_states(found, made)
    written = strategies.exported(found)
    if as_json:
        parts = {s.name: s.reason for s in states}
        file = {"metadata": found.read.file.metadata, "path": str(found.path)}
        console.out_json({**written, "note": found.note, "parts": parts, "file": file})
        return
    if found.note:
        console.note(found.note)
    for key, value in found.read.file.metadata.items():
        console.note(f"{key}: {value}")
    console.out(dump_yaml(written).rstrip())
    for state in states:
        console.note(f"{state.name}: {state.reason if state.reason else 'ready'}")


@app.command()
def use(name: Name, as_json: console.Json = False, quiet: console.Quiet = False) -> None:
    """Remember a strategy as the one that is used when none is named."""
    from stead.app import strategy_library
    from stead.core.paths import Home

    found = strategy_library.use(name, Home.find())
    if as_json:
        console.out_json({"in_use": found.strategy.name, "note": found.note})
    elif not quiet:
        console.note(found.note) if found.note else None
        console.out(f"in use: {found.strategy.name}")


@app.command()
def validate(name: Name, as_json: console.Json = False, quiet: console.Quiet = False) -> None:
    """Check a strategy or a file: every problem with its line, and what is switched off."""
    from stead.app import strategy_library
    from stead.core.paths import Home

    strategy_view.show_checked(
        strategy_library.find(name, Home.find()), as_json=as_json, quiet=quiet
    )


@app.command("test")
def try_out(
    name: Name,
    query: strategy_view.Query = None,
    live: strategy_view.Live = False,
    max_tokens: strategy_view.MaxTokens = 64,
    timeout: strategy_view.Timeout = 60.0,
    as_json: console.Json = False,
) -> None:
    """Try a strategy: whom sample requests would ask, why, and for how much; or really ask."""
    from stead.app import strategy_library
    from stead.core.paths import Home

    found = strategy_library.find(name, Home.find())
    strategy_view.try_out(
        found, query, live=live, max_tokens=max_tokens, timeout_s=timeout, as_json=as_json
    )


@app.command()
def export(
    name: Name,
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file.")] = None,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="The training recipe of its fine_tuner instead.")
    ] = False,
    as_json: console.Json = False,
) -> None:
    """Write a strategy as a file of its own, keys as the variables they come from."""
    from stead.app import strategies, strategy_library
    from stead.config.load import dump, dump_yaml
    from stead.core.paths import Home

    found = strategy_library.find(name, Home.find())
    data = strategies.recipe(found) if recipe else strategies.exported(found)
    if out is not None:
        dump(out, data)
        console.note(f"written {out}")
    elif as_json:
        console.out_json(data)
    else:
        console.out(dump_yaml(data).rstrip())
