"""Ask a model once and print its answer.

Knows nothing about engines; `app/gateway` does.
"""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.cli import asking, console
from stead.core.errors import BackendError

if TYPE_CHECKING:
    from stead.app.syncing import SyncGateway


def command(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    prompt: Annotated[str, typer.Argument(help="What to say; - reads it from stdin.")],
    model: asking.Model = None,
    adapter: asking.Adapter = None,
    strategy: asking.Strategy = None,
    url: asking.Url = None,
    raw: Annotated[bool, typer.Option("--raw", help="Complete the text; no chat.")] = False,
    system: asking.System = None,
    max_tokens: asking.MaxTokens = 256,
    temperature: asking.Temperature = None,
    seed: asking.Seed = None,
    stop: asking.Stop = None,
    stream: Annotated[
        bool | None, typer.Option(help="Print as it comes; default on a terminal.")
    ] = None,
    engine: asking.Engine = "auto",
    ctx: asking.Ctx = None,
    threads: asking.Threads = None,
    quiet: console.Quiet = False,
    json: console.Json = False,
) -> None:
    """Ask a model once and print its answer."""
    text = sys.stdin.read() if prompt == "-" else prompt
    options = asking.sampling(max_tokens, temperature, seed, stop) | {"raw": raw}
    if system is not None:
        options["system"] = system
    gateway = asking.open_gateway(
        model, strategy=strategy, url=url, adapter=adapter, engine=engine, ctx=ctx, threads=threads
    )
    with gateway.sync as sync:
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
