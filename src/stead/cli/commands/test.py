"""Try a strategy on sample requests: who would answer, why, and for how much; or really ask.

Knows nothing about strategies.
"""

from pathlib import Path
from typing import Annotated

import typer

from stead.cli import console, strategy_view


def command(
    name: Annotated[
        str | None, typer.Argument(help="Strategy or use case; default: the one in use.")
    ] = None,
    strategy_file: Annotated[
        Path | None, typer.Option("--strategy-file", "-f", help="File of strategies.")
    ] = None,
    query: strategy_view.Query = None,
    live: strategy_view.Live = False,
    max_tokens: strategy_view.MaxTokens = 64,
    timeout: strategy_view.Timeout = 60.0,
    as_json: console.Json = False,
) -> None:
    """Try a strategy on sample requests: who would answer, why, and for how much; or really ask."""
    from stead.app import strategy_library
    from stead.core.paths import Home

    wanted = name
    if strategy_file is not None:
        wanted = str(strategy_file) if name is None else f"{strategy_file}:{name}"
    found = strategy_library.find(wanted, Home.find())
    strategy_view.try_out(
        found, query, live=live, max_tokens=max_tokens, timeout_s=timeout, as_json=as_json
    )
