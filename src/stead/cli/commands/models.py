"""List what can be served: models on this machine, Ollama's, and the strategies' cloud models.

Knows nothing about looking; `app/listing` does.
"""

from typing import Annotated

import typer

from stead.cli import console


def command(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Look through the folders anew.")
    ] = False,
    local: Annotated[bool, typer.Option("--local", help="Only models on this machine.")] = False,
    as_json: console.Json = False,
) -> None:
    """List what can be served: models on this machine, Ollama's, and the strategies' cloud models."""
    from stead.app.listing import servable
    from stead.config.settings import read_settings
    from stead.core.paths import Home

    home = Home.find()
    found = servable(home, read_settings(home).value.engines, refresh=refresh)
    shown = [s for s in found if s.place == "local" or not local]
    if as_json:
        console.out_json({"models": [s.to_dict() for s in shown]})
        return
    rows = [
        [s.name, s.place, s.kind, s.by, _size(s.size_bytes), s.reason if s.reason else "ready"]
        for s in shown
    ]
    console.table(["name", "place", "kind", "by", "size", "state"], rows)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.2f} GB" if size_bytes else ""
