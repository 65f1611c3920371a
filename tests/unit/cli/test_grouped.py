"""Groups of options: single options for Typer, one value for the command."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from stead.cli.grouped import grouped


@dataclass(frozen=True, slots=True)
class Door:
    """Where to listen."""

    port: Annotated[int, typer.Option(min=0, max=65535)]
    host: Annotated[str, typer.Option("--host", "-H")] = "here"


def test_a_group_is_its_options_and_arrives_as_one_value():
    found = []

    @grouped
    def command(name: str, door: Door, loud: bool = False) -> None:
        """Open a door."""
        found.append((name, door, loud))

    app = typer.Typer()
    app.command(help=command.__doc__)(command)
    run = CliRunner().invoke

    whole = run(app, ["ann", "--port", "0", "-H", "", "--loud"])
    short = run(app, ["bob", "--port", "9"])
    missing = run(app, ["cid"])
    wrong = run(app, ["dan", "--port", "70000"])

    assert (whole.exit_code, short.exit_code) == (0, 0)
    assert found == [("ann", Door(0, ""), True), ("bob", Door(9, "here"), False)]
    assert (missing.exit_code, wrong.exit_code) == (2, 2)
