"""Answer for a model over HTTP, in the shape of the OpenAI API.

Knows nothing about models or routes; `app` and `serving` do.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stead.cli import console
from stead.core.errors import ConfigError

if TYPE_CHECKING:
    from stead.app.engines import LocalModel

_KEY_VARIABLE = "STEAD_API_KEY"


def command(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    model: Annotated[
        str, typer.Option(help="Model folder, GGUF file, adapter, run or name of an added model.")
    ],
    adapter: Annotated[str | None, typer.Option(help="Adapter folder for the model.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    engine: Annotated[str, typer.Option(help="auto, llama_cpp or transformers.")] = "auto",
    ctx: Annotated[int | None, typer.Option(min=1, help="Context in tokens (llama_cpp).")] = None,
    parallel: Annotated[int, typer.Option(min=1, max=256, help="Requests at work at once.")] = 4,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the engine.")] = None,
    name: Annotated[str | None, typer.Option(help="Name that clients call the model by.")] = None,
    api_key: Annotated[
        str | None, typer.Option(help=f"Key that clients must send; better: ${_KEY_VARIABLE}.")
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with one key per line, readable by you only.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="Further Host name to answer to (repeatable).")
    ] = None,
    quiet: console.Quiet = False,
    json: console.Json = False,
) -> None:
    """Answer for a model over HTTP, in the shape of the OpenAI API, until Ctrl-C."""
    from stead.app.engines import LocalModel, Wanted, choose
    from stead.core.paths import Home
    from stead.inference.route import ByName
    from stead.serving.asgi import App
    from stead.serving.settings import for_address
    from stead.web import server

    keys = read_keys(api_key, api_key_file)
    settings = for_address(host, api_keys=keys, allowed_hosts=tuple(allowed_host or ()))
    home = Home.find()
    kind, order = choose(Wanted(model, adapter, engine, name, ctx, parallel, threads), home)
    bound = server.bind(host, port)  # before the model is loaded: a taken port is known at once
    local = LocalModel(kind, order, home)
    try:
        if not quiet:
            console.note(f"loading {order.model} with {kind} …")
        local.start()
        url = server.url_of(bound)
        app = App(ByName({order.name: (local, order.name)}), settings)
        server.run(
            app,
            bound,
            on_ready=lambda: _announce(url, local, keyed=bool(keys), quiet=quiet, json=json),
        )
    finally:
        bound.close()
        local.stop()


def read_keys(option: str | None, file: Path | None) -> tuple[str, ...]:
    """Return the keys of the option, the file and the environment.

    Raises: ConfigError("no-key-file", "open-key-file", "empty-key").
    """
    found = [k for k in (option, os.environ.get(_KEY_VARIABLE)) if k is not None]
    if file is not None:
        if not file.is_file():
            raise ConfigError("no-key-file", f"there is no file {str(file)!r}")
        if file.stat().st_mode & 0o077:
            raise ConfigError(
                "open-key-file",
                f"others may read {str(file)!r}",
                hint=f"chmod 600 {file}",
            )
        found += [line.strip() for line in file.read_text().splitlines() if line.strip()]
    if any(not key.strip() for key in found):
        raise ConfigError("empty-key", "an API key is empty")
    return tuple(dict.fromkeys(found))


def _announce(url: str, local: "LocalModel", *, keyed: bool, quiet: bool, json: bool) -> None:
    endpoint = local.endpoint
    pid = None if endpoint is None else endpoint.pid
    name = local.order.name
    if json:
        console.out_json(
            {
                "ready": True,
                "url": url,
                "base_url": f"{url}/v1",
                "model": name,
                "engine": local.engine_name,
                "pid": os.getpid(),
                "engine_pid": pid,
            }
        )
        sys.stdout.flush()  # whoever started us waits for this line, and the server runs on
    if not quiet:
        key = f" -H 'Authorization: Bearer '${_KEY_VARIABLE}" if keyed else ""
        body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
        console.note(
            f"\n  {url}/v1   model {name}   engine {local.engine_name}\n\n"
            f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n"
            f"    -d '{body}'\n\n  Ctrl-C stops.\n"
        )
