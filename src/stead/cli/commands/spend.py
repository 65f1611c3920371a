"""Show what requests have cost: by key, model, day, strategy or who served.

Knows nothing about how it was counted; `store/spend` adds up the ledger.
"""

import calendar
import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stead.cli import console
from stead.core.errors import ConfigError

if TYPE_CHECKING:
    from stead.store.spend import Sum

_clock = time.time  # a command begins now
_UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


def command(
    by: Annotated[
        Literal["key", "model", "day", "served", "strategy", "outcome"],
        typer.Option(help="What to add up by."),
    ] = "model",
    since: Annotated[
        str | None,
        typer.Option(help="From a date (2026-05-01, UTC) or a span back (24h, 30d, 8w)."),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Only this key, by id or name.")] = None,
    as_json: console.Json = False,
) -> None:
    """Show what requests have cost: by key, model, day, strategy or who served."""
    from stead.app.database import open_database
    from stead.core.paths import Home
    from stead.store.access import Keys
    from stead.store.spend import Spend

    start = None if since is None else _since(since, _clock())
    database = open_database(Home.find())
    try:
        keys = Keys(database, _clock, "command line")
        key_id = None if key is None else keys.named(key).id
        sums = Spend(database).sums(by, since=start, key=key_id)
        names = {k.id: k.name for k in keys.all()} if by == "key" else {}
    finally:
        database.close()
    if as_json:
        console.out_json({"by": by, "since": since, "spend": [_row(s, names) for s in sums]})
    else:
        _show(by, sums, names)


def _since(text: str, now: float) -> float:
    if text[:-1].isdecimal() and text[-1:] in _UNITS:
        return now - int(text[:-1]) * _UNITS[text[-1]]
    try:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%d")))
    except ValueError as error:
        raise ConfigError(
            "bad-since", f"{text!r} is neither a date nor a span", hint="stead spend --since 30d"
        ) from error


def _row(found: "Sum", names: dict[str, str]) -> dict[str, str | int]:
    from stead.inference.prices import dollars

    return {
        "name": names.get(found.name, found.name),
        "requests": found.requests,
        "failed": found.failed,
        "cached": found.cached,
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.completion_tokens,
        "cost_usd": f"{dollars(found.cost):f}",
        "cost_picodollars": found.cost,
        "unpriced": found.unpriced,
    }


def _show(by: str, sums: list["Sum"], names: dict[str, str]) -> None:
    from rich.table import Table

    from stead.inference.prices import dollars

    table = Table(by, "requests", "failed", "prompt", "answer", "USD", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for found in sums:
        name = names.get(found.name, found.name)
        mark = "" if not found.unpriced else f" + {found.unpriced} unpriced"
        table.add_row(
            name if name else "(none)",
            f"{found.requests:,}",
            f"{found.failed:,}",
            f"{found.prompt_tokens:,}",
            f"{found.completion_tokens:,}",
            f"{dollars(found.cost):.6f}{mark}",
        )
    console.stdout().print(table)
    total = dollars(sum(s.cost for s in sums))
    console.note(f"{sum(s.requests for s in sums):,} requests, ${total:.6f}")
