"""Ollama: list, pull, run, status; create, load, unload and remove models of its store.

Knows nothing about its API; `engines/ollama_api` does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from stead.cli import console
from stead.cli.console import Json, Quiet

if TYPE_CHECKING:
    from stead.engines.ollama_api import OllamaApi, Stored

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
T = TypeVar("T")
Model = Annotated[str, typer.Argument(help="A model of Ollama, e.g. llama3.2:3b.")]


def _do(work: "Callable[[OllamaApi], Awaitable[T]]") -> T:
    """Ask the running server. Raises: BackendError("connection-refused") with the command to start it."""
    from stead.core.errors import MissingDependency
    from stead.engines.kinds.ollama import listens
    from stead.engines.ollama_api import OllamaApi
    from stead.engines.program import settings

    url = settings().ollama_url
    if not listens(url):
        raise MissingDependency(
            "engine-unavailable", f"nobody listens at {url}", hint="ollama serve"
        )

    async def run() -> T:
        api = OllamaApi(url)
        try:
            return await work(api)
        finally:
            await api.close()

    return asyncio.run(run())


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models of Ollama's store."""
    stored = _do(lambda api: api.stored())
    if as_json:
        console.out_json({"models": [_facts(s) for s in stored]})
        return
    rows = [[s.name, f"{s.size_bytes / 1e9:,.2f} GB", _memory(s), s.digest[:12]] for s in stored]
    console.table(["name", "size", "in memory", "digest"], rows)


@app.command()
def pull(model: Model, as_json: Json = False, quiet: Quiet = False) -> None:
    """Fetch a model into Ollama's store."""
    with console.progress(quiet=quiet) as emit:
        _do(lambda api: api.pull(model, emit))
    _done({"pulled": model}, f"pulled {model}", as_json=as_json)


@app.command()
def run(
    model: Model,
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.")] = None,
    as_json: Json = False,
) -> None:
    """Ask a model once; a server is started for it when none runs."""
    from stead.app.gateway import Gateway

    options = {} if max_tokens is None else {"max_tokens": max_tokens}
    with Gateway(f"ollama:{model}").sync as gateway:
        reply = gateway.generate(prompt, **options)
    if as_json:
        usage = reply.usage
        console.out_json(
            {
                "model": model,
                "text": reply.text,
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
            }
        )
    else:
        console.out(reply.text)


@app.command()
def status(as_json: Json = False) -> None:
    """Say whether Ollama can be used, where it answers, and what it has in memory."""
    from stead.engines.engine import ENGINES
    from stead.engines.kinds.ollama import listens
    from stead.engines.program import settings

    url = settings().ollama_url
    found = ENGINES.get("ollama").is_available()
    runs = listens(url)
    version = _do(lambda api: api.version()) if runs else None
    loaded = _do(lambda api: api.loaded()) if runs else {}
    facts = {
        "available": found.ok, "reason": found.reason, "hint": found.hint,
        "running": runs, "url": url, "version": version, "loaded": loaded,
    }  # fmt: skip
    if as_json:
        console.out_json(facts)
        return
    console.out(f"Ollama {version} answers at {url}" if runs else f"nobody listens at {url}")
    for name, size in loaded.items():
        console.out(f"  {name}: {size / 1e9:,.2f} GB in memory")
    if not found.ok:
        console.note(f"not available: {found.reason}\n\nhint: {found.hint}")


@app.command()
def create(
    model: Annotated[str, typer.Argument(help="The name to give it.")],
    file: Annotated[Path, typer.Argument(help="A Modelfile or a GGUF file.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a model of Ollama from a Modelfile or a GGUF file."""
    from stead.engines import modelfile

    read = modelfile.read(file)
    with console.progress(quiet=quiet) as emit:
        _do(lambda api: api.create(model, read, emit))
    _done({"created": model}, f"created {model}", as_json=as_json)


@app.command()
def load(model: Model, as_json: Json = False) -> None:
    """Bring a model into memory and keep it there."""
    _do(lambda api: api.load(model))
    _done({"loaded": model}, f"loaded {model}", as_json=as_json)


@app.command()
def unload(model: Model, as_json: Json = False) -> None:
    """Take a model out of memory."""
    _do(lambda api: api.unload(model))
    _done({"unloaded": model}, f"unloaded {model}", as_json=as_json)


@app.command()
def remove(model: Model, as_json: Json = False) -> None:
    """Remove a model from Ollama's store."""
    _do(lambda api: api.delete(model))
    _done({"removed": model}, f"removed {model}", as_json=as_json)


def _done(facts: dict[str, str], words: str, *, as_json: bool) -> None:
    if as_json:
        console.out_json(facts)
    else:
        console.out(words)


def _facts(stored: "Stored") -> dict[str, str | int]:
    return {
        "name": stored.name, "size_bytes": stored.size_bytes, "digest": stored.digest,
        "loaded_bytes": stored.loaded_bytes,
    }  # fmt: skip


def _memory(stored: "Stored") -> str:
    return f"{stored.loaded_bytes / 1e9:,.2f} GB" if stored.loaded_bytes else ""
