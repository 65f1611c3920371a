"""Make, list, show, limit and revoke API keys of this installation's server.

Knows nothing about how keys are checked; `app/access` does.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.cli import console
from stead.core.errors import ConfigError

if TYPE_CHECKING:
    from stead.app.access import Grant
    from stead.store.access import KeyRow, Keys

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

_clock = time.time  # a command begins now
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
Key = Annotated[str, typer.Argument(metavar="KEY", help="Name or id of a key.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="Model it may ask for (repeatable); none: all.")
]
Rpm = Annotated[int | None, typer.Option(min=0, help="Requests per minute.")]
Tpm = Annotated[int | None, typer.Option(min=0, help="Tokens per minute.")]
Concurrency = Annotated[int | None, typer.Option(min=0, help="Requests at once.")]
Daily = Annotated[str | None, typer.Option(help="US dollars per day (UTC), e.g. 2.50.")]
Monthly = Annotated[str | None, typer.Option(help="US dollars per month (UTC).")]
Expires = Annotated[str | None, typer.Option(help="Ends after this time, e.g. 12h, 30d, 8w.")]


@contextmanager
def _keys() -> Iterator["Keys"]:
    from stead.app.database import open_database
    from stead.core.paths import Home
    from stead.store.access import Keys

    database = open_database(Home.find())
    try:
        yield Keys(database, _clock, "command line")
    finally:
        database.close()


def _grant(
    models: list[str] | None,
    numbers: dict[str, int | None],
    money: dict[str, str | None],
    expires: str | None,
) -> "Grant":
    from stead.app.access import Grant
    from stead.inference.prices import picodollars

    budgets = {k: None if v is None else picodollars(v) for k, v in money.items()}
    end = None if expires is None else _clock() + _span_s(expires)
    return Grant(tuple(models) if models else None, **numbers, **budgets, expires_at=end)


def _span_s(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in _UNITS:
        raise ConfigError("bad-span", f"{text!r} is no span of time like 12h, 30d or 8w")
    return int(number) * _UNITS[unit]


@app.command()
def create(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    name: Annotated[str, typer.Argument(help="What it is for; unique among keys in force.")],
    model: Models = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    daily_budget: Daily = None,
    monthly_budget: Monthly = None,
    expires: Expires = None,
    as_json: console.Json = False,
) -> None:
    """Make a key and print its token, which is shown this once only."""
    from stead.app import access

    numbers = {"rpm": rpm, "tpm": tpm, "concurrency": concurrency}
    money = {"daily_budget": daily_budget, "monthly_budget": monthly_budget}
    grant = _grant(model, numbers, money, expires)
    with _keys() as keys:
        made = access.create(keys, name, grant, now=_clock())
    if as_json:
        console.out_json({"token": made.token.reveal(), **_shown(made.key)})
    else:
        console.out(made.token.reveal())
        console.note("keep it now: it cannot be shown again")


@app.command("list")
def list_keys(
    everything: Annotated[
        bool, typer.Option("--all", help="Revoked and expired ones too.")
    ] = False,
    as_json: console.Json = False,
) -> None:
    """List the keys in force."""
    now = _clock()
    with _keys() as keys:
        found = [k for k in keys.all() if everything or _state(k, now) == "in force"]
    if as_json:
        console.out_json({"keys": [_shown(k) for k in found]})
        return
    from rich.table import Table

    table = Table("id", "name", "state", "models", "limits", box=None, pad_edge=False)
    for key in found:
        models = "all" if key.models is None else ", ".join(key.models)
        table.add_row(key.id, key.name, _state(key, now), models, _limits(key))
    console.stdout().print(table)


@app.command()
def show(key: Key, as_json: console.Json = False) -> None:
    """Show a key: what it may do, and what it has spent."""
    from stead.app.database import open_database
    from stead.core.paths import Home
    from stead.store.spend import Spend

    with _keys() as keys:
        found = keys.named(key)
    database = open_database(Home.find())
    try:
        spend = Spend(database).spent(found.id)
    finally:
        database.close()
    shown = _shown(found) | {"spent_usd": _usd(spend.cost), "requests": spend.requests}
    if as_json:
        console.out_json(shown)
        return
    for name, value in shown.items():
        if value is not None:
            console.out(f"{name:<16} {value}")


@app.command()
def revoke(key: Key, as_json: console.Json = False) -> None:
    """Take a key out of force; running servers see it within two seconds."""
    with _keys() as keys:
        found = keys.revoke(keys.named(key).id)
    if as_json:
        console.out_json(_shown(found))
    else:
        console.out(f"revoked {found.id} ({found.name})")


@app.command()
def limit(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    key: Key,
    model: Models = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    daily_budget: Daily = None,
    monthly_budget: Monthly = None,
    expires: Expires = None,
    lift: Annotated[
        list[str] | None,
        typer.Option(
            help="Limit to take away, e.g. rpm, daily-budget, model, expires (repeatable)."
        ),
    ] = None,
    as_json: console.Json = False,
) -> None:
    """Change what a key may do; what is not named stays."""
    from stead.app import access

    numbers = {"rpm": rpm, "tpm": tpm, "concurrency": concurrency}
    money = {"daily_budget": daily_budget, "monthly_budget": monthly_budget}
    grant = _grant(model, numbers, money, expires)
    access.check(grant)
    columns = ("models", *numbers, *money, "expires_at")
    changes = {c: v for c in columns if (v := getattr(grant, c)) is not None}
    for name in lift or ():
        changes[_column(name, columns)] = None
    if not changes:
        raise ConfigError(
            "nothing-to-change", f"no limit of {key!r} is named", hint="stead keys limit --help"
        )
    with _keys() as keys:
        found = keys.limit(keys.named(key).id, changes)
    if as_json:
        console.out_json(_shown(found))
    else:
        console.out(f"{found.id} ({found.name}): {_limits(found)}")


def _column(name: str, columns: tuple[str, ...]) -> str:
    column = {"model": "models", "expires": "expires_at"}.get(name, name.replace("-", "_"))
    if column not in columns:
        raise ConfigError(
            "unknown-limit", f"{name!r} is no limit of a key (known: {', '.join(columns)})"
        )
    return column


def _usd(picodollars: int | None) -> str | None:
    from stead.inference.prices import dollars

    return None if picodollars is None else f"{dollars(picodollars).normalize():f}"


def _date(at: float | None) -> str | None:
    return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _state(key: "KeyRow", now: float) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and now >= key.expires_at else "in force"


def _limits(key: "KeyRow") -> str:
    parts = [
        f"{n} {v}" for n in ("rpm", "tpm", "concurrency") if (v := getattr(key, n)) is not None
    ]
    parts += [
        f"${_usd(v)} per {span}"
        for span, v in (("day", key.daily_budget), ("month", key.monthly_budget))
        if v is not None
    ]
    return ", ".join(parts) if parts else "none"


def _shown(key: "KeyRow") -> dict[str, Any]:  # Any: JSON values
    return {
        "id": key.id,
        "name": key.name,
        "state": _state(key, _clock()),
        "models": None if key.models is None else list(key.models),
        "rpm": key.rpm,
        "tpm": key.tpm,
        "concurrency": key.concurrency,
        "daily_budget": _usd(key.daily_budget),
        "monthly_budget": _usd(key.monthly_budget),
        "created_at": _date(key.created_at),
        "expires_at": _date(key.expires_at),
        "revoked_at": _date(key.revoked_at),
    }
