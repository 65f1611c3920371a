"""Options and steps that `generate` and `chat` share: which model, how to sample.

Knows nothing about either command.
"""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.core.errors import ConfigError

if TYPE_CHECKING:
    from stead.app.gateway import Gateway

Model = Annotated[
    str | None, typer.Option(help="Model folder, GGUF, adapter, run or name; or a server's name.")
]
Adapter = Annotated[str | None, typer.Option(help="Adapter folder for the model.")]
Strategy = Annotated[
    str | None, typer.Option(help="Ask through this strategy: name, use case or file.")
]
Url = Annotated[str | None, typer.Option(help="Ask this running server instead of loading.")]
Engine = Annotated[str, typer.Option(help="auto, llama_cpp or transformers.")]
Ctx = Annotated[int | None, typer.Option(min=1, help="Context in tokens (llama_cpp).")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of the engine.")]
System = Annotated[str | None, typer.Option(help="System message.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
Temperature = Annotated[float | None, typer.Option(min=0, max=2, help="0 takes the likeliest.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same answer.")]
Stop = Annotated[list[str] | None, typer.Option(help="Text that ends the answer (repeatable).")]


def open_gateway(
    model: str | None,
    *,
    url: str | None,
    strategy: str | None = None,
    adapter: str | None = None,
    engine: str = "auto",
    ctx: int | None = None,
    threads: int | None = None,
) -> "Gateway":
    """Return the Gateway that the options mean. Raises: ConfigError("no-model")."""
    from stead.app.gateway import Gateway

    if model is None and url is None and strategy is None:
        raise ConfigError("no-model", "which model? give --model, --strategy or --url")
    return Gateway(
        model,
        strategy=strategy,
        url=url,
        api_key=os.environ.get("STEAD_API_KEY") if url is not None else None,
        adapter=adapter,
        engine=engine,
        context=ctx,
        threads=threads,
        parallel=1,
    )


def sampling(
    max_tokens: int, temperature: float | None, seed: int | None, stop: list[str] | None
) -> dict[str, Any]:  # Any: the fields of `Sampling`
    """Return the sampling that was given; what was not is left to the endpoint."""
    given = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    found: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    return found | ({"stop": stop} if stop is not None else {})
