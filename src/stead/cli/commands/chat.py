"""Talk with a model, turn by turn.

Knows nothing about engines; `app/chat` keeps the conversation. Lines that begin with a slash are
commands; with piped stdin each line is one turn.
"""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stead.cli import asking, console
from stead.cli.grouped import grouped
from stead.core.errors import SteadError

if TYPE_CHECKING:
    from stead.app.chat import Conversation

_HELP = "/reset forgets the conversation, /system TEXT sets the system message, /exit ends"


@grouped
def command(
    asked: asking.Asked,
    answers: asking.Answers,
    max_tokens: asking.MaxTokens = 512,
    quiet: console.Quiet = False,
    json: console.Json = False,
) -> None:
    """Talk with a model, turn by turn; /reset, /system TEXT and /exit are commands."""
    from stead.app.chat import Conversation

    with asked.gateway().sync as sync:
        sync.load()
        options = answers.sampling(max_tokens)
        talk = Conversation(sync, system=answers.system, **options)
        if not quiet:
            console.note(_HELP)
        for line in _lines(prompt=not quiet):
            if line.startswith("/"):
                if not _obey(talk, line):
                    break
            elif line:
                _turn(talk, line, echo=not json)
        if json:
            console.out_json({"turns": [{"role": m.role, "text": m.text} for m in talk.messages]})


def _lines(*, prompt: bool) -> Iterator[str]:
    """Yield what is typed or piped, line by line, until its end."""
    shown = prompt and sys.stdin.isatty()
    while True:
        if shown:
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        yield line.strip()


def _obey(talk: "Conversation", line: str) -> bool:
    """Do a slash command; return whether the talk goes on."""
    name, _, rest = line[1:].partition(" ")
    if name in {"exit", "quit"}:
        return False
    if name == "reset":
        talk.reset()
    elif name == "system":
        talk.system = rest.strip() if rest.strip() else None
    else:
        console.note(f"unknown command /{name}; {_HELP}")
    return True


def _turn(talk: "Conversation", line: str, *, echo: bool) -> None:
    """Say one line and print the answer; a failed turn is told and forgotten."""
    answer = talk.ask(line)
    try:
        for text in answer:
            if echo:
                sys.stdout.write(text)
                sys.stdout.flush()
    except KeyboardInterrupt:
        console.note("(stopped)")
    except SteadError as error:
        if not sys.stdin.isatty():
            raise
        console.print_error(error)
    if echo:
        console.out()
