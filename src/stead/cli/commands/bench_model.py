"""Measure models: load time, first token, tokens per second, memory.

Knows nothing about measuring; `app/bench_model` does.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.cli import console
from stead.cli.grouped import grouped

if TYPE_CHECKING:
    from stead.app.bench_model import Benched, Spread


@dataclass(frozen=True, slots=True)
class Asked:
    """How a model is run, or who is asked instead."""

    engine: Annotated[str, typer.Option(help="auto, or the name of an engine.")] = "auto"
    ctx: Annotated[int | None, typer.Option(min=1, help="Context in tokens.")] = None
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the engine.")] = None
    strategy: Annotated[
        str | None, typer.Option(help="Ask this strategy instead: for its cloud models.")
    ] = None
    url: Annotated[str | None, typer.Option(help="Ask this server instead.")] = None

    def bench(self, model: str, how: dict[str, Any]) -> "Benched":  # Any: keywords of `bench_*`
        """Measure one model."""
        from stead.app import bench_model, strategies
        from stead.app.engines import Wanted
        from stead.core.paths import Home
        from stead.inference.remote import Remote

        home = Home.find()
        url, strategy = self.url, self.strategy
        if url is not None:
            key = os.environ.get("STEAD_API_KEY")
            return bench_model.bench_remote(lambda: Remote(url, token=key), model, url, **how)
        if strategy is not None:
            return bench_model.bench_remote(
                lambda: strategies.open(strategy, home)[0], model, strategy, **how
            )
        wanted = Wanted(model, engine=self.engine, context=self.ctx, threads=self.threads)
        return bench_model.bench_local(wanted, home, **how)


@grouped
def command(
    models: Annotated[
        list[str], typer.Argument(help="Folder, GGUF, .sbs, run, name, or ollama:name:tag.")
    ],
    asked: Asked,
    runs: Annotated[int, typer.Option(min=1, max=100, help="Starts of the engine.")] = 3,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of each answer.")] = 64,
    quiet: console.Quiet = False,
    as_json: console.Json = False,
) -> None:
    """Measure models: load time, first token, tokens per second, memory."""
    with console.progress(quiet=quiet) as emit:
        how = {"runs": runs, "tokens": tokens, "emit": emit}
        found = [asked.bench(model, how) for model in models]
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
