"""People of the platform: list, add, change their role, disable, let in by a link.

Knows nothing about sessions or the database.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from stead.cli import console
from stead.core.errors import ConfigError

if TYPE_CHECKING:
    from stead.store.users import Role, Users

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name or id.")]
RoleName = Annotated[str, typer.Option("--role", help="admin, member or viewer.")]


@contextmanager
def _users() -> "Iterator[Users]":
    from stead.app.database import open_database
    from stead.core.paths import Home
    from stead.store.users import Users

    database = open_database(Home.find())
    try:
        yield Users(database, _clock)
    finally:
        database.close()


def _clock() -> float:
    return time.time()  # house: hidden-input - the command line is where the clock comes from


def _role(text: str) -> "Role":
    roles: dict[str, Role] = {"admin": "admin", "member": "member", "viewer": "viewer"}
    if text not in roles:
        raise ConfigError("bad-role", f"{text!r} is no role (admin, member, viewer)")
    return roles[text]


@app.command("list")
def list_users(as_json: console.Json = False) -> None:
    """List everybody."""
    with _users() as users:
        found = users.all()
    if as_json:
        console.out_json({"users": [{"id": u.id, "name": u.name, "role": u.role,
                                     "disabled": u.disabled_at is not None} for u in found]})  # fmt: skip
        return
    for user in found:
        console.out(
            f"{user.name}  {user.role}{'  disabled' if user.disabled_at is not None else ''}"
        )


@app.command()
def add(name: Name, role: RoleName = "viewer", as_json: console.Json = False) -> None:
    """Add a person; `stead users link NAME` lets them in."""
    import secrets

    from stead.store.users import User

    with _users() as users:
        made = users.add(
            User("u" + secrets.token_hex(8), name, _role(role), _clock()), "command line"
        )
    console.out_json(
        {"id": made.id, "name": made.name, "role": made.role}
    ) if as_json else console.out(made.id)


@app.command("role")
def set_role(
    name: Name, role: Annotated[str, typer.Argument(help="admin, member or viewer.")]
) -> None:
    """Change what somebody may do."""
    with _users() as users:
        users.change(users.named(name).id, "command line", role=_role(role))


@app.command()
def disable(name: Name) -> None:
    """Let somebody in no more, and end their sessions."""
    from stead.app.sessions import Sessions
    from stead.core.paths import Home

    with _users() as users:
        user = users.change(users.named(name).id, "command line", disabled_at=_clock())
    Sessions(Home.find()).close_all(user.id)


@app.command()
def link(
    name: Annotated[
        str, typer.Argument(help="Name or id; default: whoever runs the server.")
    ] = "owner",
    url: Annotated[str, typer.Option(help="Where the server answers.")] = "http://127.0.0.1:8080",
) -> None:
    """Print a link that lets a browser in once."""
    from stead.app.sessions import Sessions
    from stead.core.paths import Home

    with _users() as users:
        user = users.named(name)
    code = Sessions(Home.find().ensure()).link(user.id)
    console.out(f"{url.rstrip('/')}/#token={code}")
    console.note("it works once, for 15 minutes")
