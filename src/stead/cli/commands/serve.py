"""Answer for models and strategies over HTTP, in the shape of the OpenAI API.

Knows nothing about models or routes; `app` and `serving` do.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stead.cli import console
from stead.core.errors import ConfigError

if TYPE_CHECKING:
    from stead.app.accounts import Accounts
    from stead.app.served import Served
    from stead.core.metrics import Metrics
    from stead.core.paths import Home
    from stead.serving.access import Access
    from stead.serving.exchange import Routes
    from stead.serving.settings import Settings

_KEY_VARIABLE = "STEAD_API_KEY"


def command(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model folder, GGUF, adapter, run or name (repeatable)."),
    ] = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help="Strategy: name, use case or file (repeatable).")
    ] = None,
    all_models: Annotated[
        bool, typer.Option("--all-models", help="Every local model of `stead models`, on demand.")
    ] = False,
    adapter: Annotated[str | None, typer.Option(help="Adapter folder for the model.")] = None,
    adapters: Annotated[
        list[str] | None,
        typer.Option(help="Folder of adapters, asked for as MODEL:ADAPTER (repeatable)."),
    ] = None,
    exact: Annotated[
        bool, typer.Option(help="Same bits alone and in company; alone somewhat slower.")
    ] = False,
    speculate: Annotated[
        bool, typer.Option(help="Guess tokens from the text so far, check them together.")
    ] = True,
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
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy",
            help="Believe X-Forwarded-For, -Proto and -Host: only a proxy reaches the port.",
        ),
    ] = False,
    access_log: Annotated[
        str, typer.Option(help="json, text or none; in logs/app/access.log of the data directory.")
    ] = "json",
    drain_s: Annotated[
        float, typer.Option(min=0, help="Seconds that requests in flight get after SIGTERM.")
    ] = 20.0,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Ask nobody who they are; on this machine only.")
    ] = False,
    no_platform: Annotated[
        bool, typer.Option("--no-platform", help="Only models: no pages, no /api, no jobs.")
    ] = False,
    quiet: console.Quiet = False,
    json: console.Json = False,
) -> None:
    """Serve the platform's pages and API, and answer for models and strategies over HTTP, until Ctrl-C."""
    from stead.app.engines import Wanted
    from stead.app.monitoring import set_up_log
    from stead.app.served import Books, every, served, tuned
    from stead.core.metrics import Metrics
    from stead.core.paths import Home
    from stead.serving.settings import for_address, is_loopback
    from stead.web import server
    from stead.web.proxy import BehindProxy

    keys = read_keys(api_key, api_key_file)
    home = Home.find()
    models = model if model is not None else []
    if len(models) > 1 and (name is not None or adapter is not None or adapters):
        raise ConfigError("one-model", "--name, --adapter and --adapters are for one --model")
    watchers = _watchers(access_log, home)
    alone = not models and not strategy and not all_models
    with_platform = not no_platform and _can_platform(needed=alone)
    if no_token and (behind_proxy or not is_loopback(host)):
        raise ConfigError(
            "open-address",
            f"--no-token lets everybody in, and {host!r} can be reached by others",
            hint="stead serve",
        )
    with _accounts(home, keys) as accounts:
        keyed = accounts.asks_for_keys
        hosts = tuple(allowed_host or ())
        settings = for_address(
            host, api_keys=keys, allowed_hosts=hosts, keyed=keyed, behind_proxy=behind_proxy
        )
        books = Books(Metrics(), accounts.shared, accounts.ledger)
        folders = () if adapters is None else tuple(str(Path(a).resolve()) for a in adapters)
        wanted = [
            Wanted(
                m,
                adapter,
                engine,
                name,
                ctx,
                parallel,
                threads,
                adapters=folders,
                exact=exact,
                speculate=speculate,
            )
            for m in models
        ]
        here = tuned(home) if with_platform else None
        if all_models or (alone and with_platform):
            here = every(home)
        found = served(
            wanted,
            strategy if strategy is not None else [],
            home,
            books,
            here,
            may_be_empty=with_platform,
        )
        for chosen in found.strategies[:1]:  # there is one console: the first strategy's monitoring
            set_up_log(chosen, home)
        made: _Made | None = None
        bound = server.bind(host, port)  # before a model is loaded: a taken port is known at once
        try:
            _start(found, quiet=quiet)
            url = server.url_of(bound)
            parts = _Parts(found, settings, accounts, watchers, books.metrics, is_open=no_token)
            made = parts.platform(home, url) if with_platform else parts.gateway(home)
            server.run(
                BehindProxy(made.app) if behind_proxy else made.app,
                bound,
                on_ready=lambda: _ready(
                    url, found, home, keyed=keyed, quiet=quiet, json=json, link=made.link
                ),
                drain_s=drain_s,
            )
        finally:
            bound.close()
            if made is not None:
                made.stop()
            found.stop()
            for watcher in watchers:
                watcher.close()


@dataclass(frozen=True, slots=True)
class _Made:
    """What is served; `link` lets a browser in once."""

    app: Any  # Any: `web.server.App`, which is not imported for `--help`
    stop: Callable[[], None]
    link: str | None = None


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a server is made of."""

    found: "Served"
    settings: "Settings"
    accounts: "Accounts"
    watchers: list[Any]  # Any: what the server tells of requests
    metrics: "Metrics"
    is_open: bool

    def gateway(
        self,
        home: "Home",
        access: "Access | None" = None,
        groups: "Mapping[str, Routes] | None" = None,
    ) -> _Made:
        """Return the models' routes alone, and `groups` of further ones."""
        from stead.serving.asgi import App

        app = App(
            self.found.backend,
            self.settings,
            access=self.accounts.door if access is None else access,
            watchers=self.watchers,
            files=home.root / "files",
            metrics=self.metrics,
            groups=groups,
        )
        app.measured.breakers(self.found.breakers)
        return _Made(app, lambda: None)

    def platform(self, home: "Home", url: str) -> _Made:
        """Return pages, API and the models' routes, with the jobs beside them."""
        from stead.app.fine_tuning import FineTuner
        from stead.app.platform import Platform
        from stead.app.working import Working
        from stead.serving.file_store import FileStore
        from stead.serving.fine_tuning import FineTuning
        from stead.web.app import Root
        from stead.web.session_access import SessionAccess

        platform = Platform.of(home, self.accounts, served=self.found, is_open=self.is_open)
        owner = platform.identities.owner(platform.clock())
        self.watchers.append(platform.requests)
        sessions = SessionAccess(self.accounts.door)
        local = {model.order.name: model.order.model for model in self.found.local}
        tuner = FineTuner(platform, FileStore(home.root / "files"), local)
        routes = {"/v1/fine_tuning": FineTuning(tuner, self.settings)}
        gateway = self.gateway(home, sessions, routes).app
        working = Working(home, platform.stores)
        working.start()
        code = None if self.is_open else platform.identities.sessions.link(owner.id)
        link = url if code is None else f"{url}/#token={code}"
        return _Made(Root(gateway, platform, self.settings, sessions), working.stop, link)


def _can_platform(*, needed: bool) -> bool:
    """Say whether the platform's libraries are here. Raises: MissingDependency when it is what was asked for."""
    from stead.core.lazy import installed, load

    if needed:
        load("fastapi", extra="serve")
    return installed("fastapi")


@contextmanager
def _accounts(home: "Home", keys: tuple[str, ...]) -> Iterator["Accounts"]:
    """Open keys, limits and ledger; write what is left at the end."""
    from stead.app.accounts import Accounts

    opened = Accounts.open(home, open_tokens=keys)
    try:
        yield opened
    finally:
        asyncio.run(opened.close())


def _ready(
    url: str,
    found: "Served",
    home: "Home",
    *,
    keyed: bool,
    quiet: bool,
    json: bool,
    link: str | None,
) -> None:
    from stead.config.settings import read_settings

    found.begin(read_settings(home).value.engines.preload)
    _announce(url, found, keyed=keyed, quiet=quiet, json=json, link=link)


def _start(found: "Served", *, quiet: bool) -> None:
    for note in found.notes:
        console.note(f"note: {note}")
    for local in found.local:
        if not quiet:
            console.note(f"loading {local.order.model} with {local.engine_name} …")
        local.start()


def _watchers(format_: str, home: "Home") -> list[Any]:  # Any: what the server tells of requests
    """Set logging up; return the access log and the traces. Raises: ConfigError("bad-option")."""
    from stead.config.settings import read_settings
    from stead.core import log
    from stead.serving.access_log import AccessLog
    from stead.serving.telemetry import from_environment

    if format_ not in ("json", "text", "none"):
        raise ConfigError("bad-option", f"--access-log is {format_!r}, not json, text or none")
    settings = read_settings(home).value.log
    folder = home.ensure().logs
    log.set_up(log.LogConfig(level=settings.level, format=settings.format, folder=folder))
    chosen: Literal["json", "text"] = "text" if format_ == "text" else "json"
    traces = from_environment()
    return ([] if format_ == "none" else [AccessLog(chosen)]) + ([] if traces is None else [traces])


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


def _announce(
    url: str, found: "Served", *, keyed: bool, quiet: bool, json: bool, link: str | None
) -> None:
    local = found.local[0] if found.local else None
    endpoint = None if local is None else local.endpoint
    name = found.names[0] if found.names else "MODEL"
    engine = None if local is None else local.engine_name
    if json:
        console.out_json(
            {
                "ready": True,
                "url": url,
                "base_url": f"{url}/v1",
                "model": name,
                "models": found.names,
                "link": link,
                "local": found.engines is not None,
                "engine": engine,
                "pid": os.getpid(),
                "engine_pid": None if endpoint is None else endpoint.pid,
            }
        )
        sys.stdout.flush()  # whoever started us waits for this line, and the server runs on
    if link is not None and not quiet:
        once = "" if link == url else " (works once, for 15 minutes)"
        console.note(f"\n  open  {link}{once}")
    if not quiet and found.names:
        key = f" -H 'Authorization: Bearer '${_KEY_VARIABLE}" if keyed else ""
        body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
        by = "" if engine is None else f"   engine {engine}"
        console.note(
            f"\n  {url}/v1   model {', '.join(found.names)}{by}\n\n"
            f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n"
            f"    -d '{body}'\n\n  Ctrl-C stops.\n"
        )
