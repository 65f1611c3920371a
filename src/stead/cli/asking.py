"""Options and steps that `generate` and `chat` share: which model, how to sample.

Knows nothing about either command.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.core.errors import ConfigError

if TYPE_CHECKING:
    from stead.app.gateway import Gateway


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked: a model that is loaded, a strategy, or a running server."""

    model: Annotated[
        str | None,
        typer.Option(help="Model folder, GGUF, adapter, run or name; or a server's name."),
    ] = None
    adapter: Annotated[str | None, typer.Option(help="Adapter folder for the model.")] = None
    strategy: Annotated[
        str | None, typer.Option(help="Ask through this strategy: name, use case or file.")
    ] = None
    url: Annotated[str | None, typer.Option(help="Ask this running server instead of loading.")] = (
        None
    )
    engine: Annotated[str, typer.Option(help="auto, llama_cpp or transformers.")] = "auto"
    ctx: Annotated[int | None, typer.Option(min=1, help="Context in tokens (llama_cpp).")] = None
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the engine.")] = None

    def gateway(self) -> "Gateway":
        """Return the Gateway that the options mean. Raises: ConfigError("no-model")."""
        from stead.app.gateway import Gateway

        if self.model is None and self.url is None and self.strategy is None:
            raise ConfigError("no-model", "which model? give --model, --strategy or --url")
        return Gateway(
            self.model,
            strategy=self.strategy,
            url=self.url,
            api_key=os.environ.get("STEAD_API_KEY") if self.url is not None else None,
            adapter=self.adapter,
            engine=self.engine,
            context=self.ctx,
            threads=self.threads,
            parallel=1,
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """How an answer is drawn; what is not given is left to the endpoint."""

    system: Annotated[str | None, typer.Option(help="System message.")] = None
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="0 takes the likeliest.")
    ] = None
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.")] = None
    stop: Annotated[
        list[str] | None, typer.Option(help="Text that ends the answer (repeatable).")
    ] = None

    def sampling(self, max_tokens: int) -> dict[str, Any]:  # Any: the fields of `Sampling`
        """Return the sampling that was given."""
        given = {"max_tokens": max_tokens, "temperature": self.temperature, "seed": self.seed}
        found: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        return found | ({"stop": self.stop} if self.stop is not None else {})


MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
