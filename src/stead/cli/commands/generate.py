"""Ask a model once and print its answer.

Knows nothing about engines; `app/gateway` does.
"""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.cli import asking, console
from stead.cli.grouped import grouped
from stead.core.errors import BackendError

if TYPE_CHECKING:
    from stead.app.syncing import SyncGateway


@grouped
def command(
    prompt: Annotated[str, typer.Argument(help="What to say; - reads it from stdin.")],
    asked: asking.Asked,
    answers: asking.Answers,
    max_tokens: asking.MaxTokens = 256,
    raw: Annotated[bool, typer.Option("--raw", help="Complete the text; no chat.")] = False,
    stream: Annotated[
        bool | None, typer.Option(help="Print as it comes; default on a terminal.")
    ] = None,
    quiet: console.Quiet = False,
    json: console.Json = False,
) -> None:
    """Ask a model once and print its answer."""
    text = sys.stdin.read() if prompt == "-" else prompt
    options = answers.sampling(max_tokens) | {"raw": raw}
    if answers.system is not None:
        options["system"] = answers.system
    with asked.gateway().sync as sync:
        if not json and (sys.stdout.isatty() if stream is None else stream):
            _stream(sync, text, options)
        else:
            _whole(sync, text, options, as_json=json, quiet=quiet)


def _stream(sync: "SyncGateway", text: str, options: dict[str, Any]) -> None:
    for chunk in sync.stream(text, **options):
        sys.stdout.write(chunk.text)
        sys.stdout.flush()
    console.out()


def _whole(
    sync: "SyncGateway", text: str, options: dict[str, Any], *, as_json: bool, quiet: bool
) -> None:
    reply = sync.generate(text, **options)
    if not reply.choices:
        raise BackendError("bad-answer", "the endpoint sent no choices")
    if not quiet:
        for deviation in reply.deviations:
            console.note(f"note: {deviation.kind}: {deviation.detail}")
    if not as_json:
        console.out(reply.text)
        return
    console.out_json(
        {
            "model": reply.model,
            "text": reply.text,
            "finish_reason": reply.choices[0].finish_reason,
            "prompt_tokens": reply.usage.prompt_tokens,
            "completion_tokens": reply.usage.completion_tokens,
            "deviations": [[d.kind, d.detail] for d in reply.deviations],
        }
    )
