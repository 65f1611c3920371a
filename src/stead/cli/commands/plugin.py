"""See which plugins there are, and allow or forbid them.

Knows nothing about what plugins do; `app/plugins` does the work.
"""

import json as jsonlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.cli import console
from stead.core.errors import ConfigError

if TYPE_CHECKING:
    from stead.app.plugins import Plugin, Plugins

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List, show, enable and disable plugins: code of others, run only once it is enabled.",
)
_Name = Annotated[str, typer.Argument(help="KIND/NAME, or the name where that is clear.")]


@app.command("list")
def list_(json: console.Json = False) -> None:
    """List every plugin that is there, with its state."""
    found = _plugins().all()
    if json:
        console.out_json([asdict(p) for p in found])
        return
    width = max((len(p.key) for p in found), default=0)
    for plugin in found:
        console.out(f"{plugin.key:<{width}}  {plugin.state:<8}  {plugin.origin}")


@app.command()
def show(name: _Name, json: console.Json = False) -> None:
    """Show one plugin: where it is, its hash, its options."""
    _tell(_plugins().get(name), as_json=json)


@app.command()
def enable(
    name: _Name,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE for the plugin's options; VALUE is JSON or text."),
    ] = None,
    json: console.Json = False,
) -> None:
    """Allow a plugin to run as its file is now; a later change needs a new permission."""
    options = None if set_ is None else dict(_option(text) for text in set_)
    _tell(_plugins().enable(name, options), as_json=json)


@app.command()
def disable(name: _Name, json: console.Json = False) -> None:
    """Forbid a plugin; its file stays."""
    plugins = _plugins()
    gone = plugins.disable(name)
    if json:
        console.out_json({"disabled": gone.key})
    else:
        console.out(f"disabled {gone.key}")


def _plugins() -> "Plugins":
    from stead.app.plugins import Plugins
    from stead.core.paths import Home

    return Plugins(Home.find())


def _tell(plugin: "Plugin", *, as_json: bool) -> None:
    if as_json:
        console.out_json(asdict(plugin))
        return
    for key, value in asdict(plugin).items():
        console.out(f"{key:<8}  {value}")


def _option(text: str) -> tuple[str, Any]:  # Any: JSON values
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError("bad-option", f"{text!r} is no KEY=VALUE")
    try:
        return key, jsonlib.loads(value)
    except ValueError:
        return key, value
