"""Measure models: load time, first token, tokens per second, memory.

Knows nothing about measuring; `app/bench_model` does.
"""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from stead.cli import console

if TYPE_CHECKING:
    from stead.app.bench_model import Benched, Spread


def command(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    models: Annotated[
        list[str], typer.Argument(help="Folder, GGUF, .sbs, run, name, or ollama:name:tag.")
    ],
    runs: Annotated[int, typer.Option(min=1, max=100, help="Starts of the engine.")] = 3,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of each answer.")] = 64,
    engine: Annotated[str, typer.Option(help="auto, or the name of an engine.")] = "auto",
    ctx: Annotated[int | None, typer.Option(min=1, help="Context in tokens.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the engine.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Ask this strategy instead: for its cloud models.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask this server instead.")] = None,
    quiet: console.Quiet = False,
    as_json: console.Json = False,
) -> None:
    """Measure models: load time, first token, tokens per second, memory."""
    from stead.app import bench_model, strategies
    from stead.app.engines import Wanted
    from stead.core.paths import Home
    from stead.inference.remote import Remote

    home = Home.find()
    found = []
    with console.progress(quiet=quiet) as emit:
        for model in models:
            if url is not None:
                found.append(
                    bench_model.bench_remote(
                        lambda: Remote(url, token=os.environ.get("STEAD_API_KEY")), model, url,
                        runs=runs, tokens=tokens, emit=emit,
                    )
                )  # fmt: skip
            elif strategy is not None:
                found.append(
                    bench_model.bench_remote(
                        lambda: strategies.open(strategy, home)[0], model, strategy,
                        runs=runs, tokens=tokens, emit=emit,
                    )
                )  # fmt: skip
            else:
                wanted = Wanted(model, engine=engine, context=ctx, threads=threads)
                found.append(
                    bench_model.bench_local(wanted, home, runs=runs, tokens=tokens, emit=emit)
                )
    if as_json:
        console.out_json({"models": [b.to_dict() for b in found]})
        return
    head = ["model", "by", "load s", "first token ms", "tokens/s", "memory GB"]
    console.table(head, [_row(b) for b in found])
    console.out(f"median [least, most] of {runs} runs, each with an engine of its own")


def _row(benched: "Benched") -> list[str]:
    return [
        benched.model,
        benched.engine,
        _cell(benched.load_s, 1.0),
        _cell(benched.first_token_s, 1000.0),
        _cell(benched.tokens_per_s, 1.0),
        _cell(benched.memory_bytes, 1e-9),
    ]


def _cell(spread: "Spread | None", factor: float) -> str:
    if spread is None:
        return ""
    middle, least, most = (f"{value * factor:.3g}" for value in spread.to_list())
    return f"{middle} [{least}, {most}]"
