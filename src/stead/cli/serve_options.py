"""The options of `serve`, in groups: what answers, through which door, and how it runs.

Knows nothing about serving.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

KEY_VARIABLE = "STEAD_API_KEY"


@dataclass(frozen=True, slots=True)
class Models:
    """What answers: models, strategies, and how an engine runs a model."""

    model: Annotated[
        list[str] | None,
        typer.Option(help="Model folder, GGUF, adapter, run or name (repeatable)."),
    ] = None
    strategy: Annotated[
        list[str] | None, typer.Option(help="Strategy: name, use case or file (repeatable).")
    ] = None
    all_models: Annotated[
        bool, typer.Option("--all-models", help="Every local model of `stead models`, on demand.")
    ] = False
    adapter: Annotated[str | None, typer.Option(help="Adapter folder for the model.")] = None
    adapters: Annotated[
        list[str] | None,
        typer.Option(help="Folder of adapters, asked for as MODEL:ADAPTER (repeatable)."),
    ] = None
    name: Annotated[str | None, typer.Option(help="Name that clients call the model by.")] = None
    engine: Annotated[str, typer.Option(help="auto, llama_cpp or transformers.")] = "auto"
    ctx: Annotated[int | None, typer.Option(min=1, help="Context in tokens (llama_cpp).")] = None
    parallel: Annotated[int, typer.Option(min=1, max=256, help="Requests at work at once.")] = 4
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the engine.")] = None
    exact: Annotated[
        bool, typer.Option(help="Same bits alone and in company; alone somewhat slower.")
    ] = False
    speculate: Annotated[
        bool, typer.Option(help="Guess tokens from the text so far, check them together.")
    ] = True

    @property
    def are_named(self) -> bool:
        """Whether anything was chosen; if not, the server stands for this machine."""
        return bool(self.model or self.strategy or self.all_models)


@dataclass(frozen=True, slots=True)
class Door:
    """Where the server listens, and whom it lets in."""

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080
    api_key: Annotated[
        str | None, typer.Option(help=f"Key that clients must send; better: ${KEY_VARIABLE}.")
    ] = None
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with one key per line, readable by you only.")
    ] = None
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="Further Host name to answer to (repeatable).")
    ] = None
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy",
            help="Believe X-Forwarded-For, -Proto and -Host: only a proxy reaches the port.",
        ),
    ] = False
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Ask nobody who they are; on this machine only.")
    ] = False


@dataclass(frozen=True, slots=True)
class Running:
    """What is written down, how the server ends, and what it is without."""

    access_log: Annotated[
        str, typer.Option(help="json, text or none; in logs/app/access.log of the data directory.")
    ] = "json"
    drain_s: Annotated[
        float, typer.Option(min=0, help="Seconds that requests in flight get after SIGTERM.")
    ] = 20.0
    no_platform: Annotated[
        bool, typer.Option("--no-platform", help="Only models: no pages, no /api, no jobs.")
    ] = False
