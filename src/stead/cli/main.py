"""The root of the command line: finds commands by file name and loads only the one that is asked for.

Knows nothing about what a command does. A command is one file in `cli/commands`: its docstring's
first line is the help, and it holds either a function `command` or a Typer group `app`.
"""

import ast
import sys
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

import stead.cli.commands
from stead.cli import console
from stead.cli.own_words import own_words
from stead.core.errors import SteadError, not_allowed
from stead.core.lazy import load as load_module

_FOLDER = Path(stead.cli.commands.__file__).parent
_PACKAGE = "stead.cli.commands"


def command_files() -> dict[str, Path]:
    """Return every command's name and file; an underscore in the file name is a hyphen."""
    return {
        path.stem.replace("_", "-"): path
        for path in sorted(_FOLDER.glob("*.py"))
        if not path.stem.startswith("_")
    }


def _first_line(path: Path) -> str:
    """Return a file's first docstring line without importing the file."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0] if text else ""


def load_command(name: str) -> Any:  # Any: the vendored click command of Typer
    """Import one command's file and return it as a click command."""
    module = load_module(f"{_PACKAGE}.{name.replace('-', '_')}", extra="all")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(rich_markup_mode=None, add_completion=False)
        app.command(name, help=module.command.__doc__)(module.command)
    found = typer.main.get_command(app)
    found.name = name
    return _told(found, _first_line(_FOLDER / f"{name.replace('-', '_')}.py"))


def _told(found: Any, line: str) -> Any:  # Any: the vendored click command of Typer
    """Return a group that says what it is for and what each command does, in whole sentences.

    Completion belongs to the program, not to each of its groups.
    """
    inner = getattr(found, "commands", {})
    if inner:
        found.help = line
        found.params = [p for p in found.params if not str(p.name).endswith("_completion")]
    for command in inner.values():
        command.short_help = " ".join(command.help.split("\n\n")[0].split()).rstrip(".")
    return found


class LazyGroup(TyperGroup):
    """A group whose commands are files, imported on use."""

    def list_commands(self, ctx: Any) -> list[str]:  # Any: click's context
        """List the names, importing nothing."""
        return list(command_files())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one command's file; None when there is none of that name."""
        return load_command(cmd_name) if cmd_name in command_files() else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Print the list of commands from their files' first lines."""
        rows = [(name, _first_line(path).rstrip(".")) for name, path in command_files().items()]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stead {stead.__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Acquire, fine-tune, evaluate, convert and serve language models."""


def _refuse(error: SteadError, argv: list[str]) -> NoReturn:
    error.hint = own_words(error.hint, argv)
    console.print_error(error, as_json="--json" in argv)
    raise SystemExit(error.exit_status) from error


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 refused input, 130 interrupted."""
    argv = sys.argv[1:] if arguments is None else arguments
    try:
        app(argv, standalone_mode=True)
    except SteadError as error:
        _refuse(error, argv)
    except PermissionError as error:
        _refuse(not_allowed(error), argv)
    except KeyboardInterrupt as error:
        console.note("interrupted")
        raise SystemExit(130) from error
    except BrokenPipeError as error:
        raise SystemExit(0) from error  # the reader of our output left, e.g. `| head`
