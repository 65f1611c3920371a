"""Answer for models and strategies over HTTP, in the shape of the OpenAI API.

Knows nothing about models or routes; `app` and `serving` do.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stead.cli import console
from stead.cli.grouped import grouped
from stead.cli.serve_options import KEY_VARIABLE, Door, Models, Running
from stead.cli.serve_view import View
from stead.core.errors import ConfigError

if TYPE_CHECKING:
    from stead.app.accounts import Accounts
    from stead.app.served import Books, Served
    from stead.core.metrics import Metrics
    from stead.core.paths import Home
    from stead.serving.access import Access
    from stead.serving.exchange import Routes
    from stead.serving.settings import Settings


@grouped
def command(
    models: Models,
    door: Door,
    running: Running,
    quiet: console.Quiet = False,
    json: console.Json = False,
) -> None:
    """Serve the platform's pages and API, and answer for models and strategies over HTTP, until Ctrl-C."""
    from stead.app.served import Books
    from stead.core.metrics import Metrics
    from stead.core.paths import Home
    from stead.serving.settings import for_address
    from stead.web import server
    from stead.web.proxy import BehindProxy

    keys = read_keys(door.api_key, door.api_key_file)
    home = Home.find()
    _check(models, door)
    watchers = _watchers(running.access_log, home)
    with_platform = not running.no_platform and _can_platform(needed=not models.are_named)
    with _accounts(home, keys) as accounts:
        keyed = accounts.asks_for_keys
        settings = for_address(
            door.host, api_keys=keys, allowed_hosts=tuple(door.allowed_host or ()), keyed=keyed,
            behind_proxy=door.behind_proxy,
        )  # fmt: skip
        books = Books(Metrics(), accounts.shared, accounts.ledger)
        found = _found(models, home, books, with_platform=with_platform)
        parts = _Parts(found, settings, accounts, watchers, books.metrics, is_open=door.no_token)
        bound = server.bind(door.host, door.port)  # before a model is loaded: is the port free?
        view = View(server.url_of(bound), keyed=keyed, quiet=quiet, json=json)
        made: _Made | None = None
        try:
            _start(found, quiet=quiet)
            made = parts.platform(home, view.url) if with_platform else parts.gateway(home)
            server.run(
                BehindProxy(made.app) if door.behind_proxy else made.app,
                bound,
                on_ready=lambda: _ready(view, found, home, made.link),
                drain_s=running.drain_s,
            )
        finally:
            bound.close()
            _stop(made, found, watchers)


def _check(models: Models, door: Door) -> None:
    """Refuse what does not go together. Raises: ConfigError("one-model", "open-address")."""
    from stead.serving.settings import is_loopback

    several = models.model is not None and len(models.model) > 1
    if several and (models.name is not None or models.adapter is not None or models.adapters):
        raise ConfigError("one-model", "--name, --adapter and --adapters are for one --model")
    if door.no_token and (door.behind_proxy or not is_loopback(door.host)):
        raise ConfigError(
            "open-address",
            f"--no-token lets everybody in, and {door.host!r} can be reached by others",
            hint="stead serve",
        )


def _found(chosen: Models, home: "Home", books: "Books", *, with_platform: bool) -> "Served":
    """Compose what is asked for; the first strategy's logging is set up, since there is one console."""
    from stead.app.engines import Wanted
    from stead.app.monitoring import set_up_log
    from stead.app.served import every, served, tuned

    folders = tuple(str(Path(a).resolve()) for a in chosen.adapters or ())
    wanted = [
        Wanted(
            model, chosen.adapter, chosen.engine, chosen.name, chosen.ctx, chosen.parallel, chosen.threads,
            adapters=folders, exact=chosen.exact, speculate=chosen.speculate,
        )
        for model in chosen.model or ()
    ]  # fmt: skip
    here = tuned(home) if with_platform else None
    if chosen.all_models or (with_platform and not chosen.are_named):
        here = every(home)
    found = served(wanted, chosen.strategy or (), home, books, here, may_be_empty=with_platform)
    for strategy in found.strategies[:1]:
        set_up_log(strategy, home)
    return found


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
        from stead.app.collector import collectors, show
        from stead.app.plugins import Plugins
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
        show(self.metrics, collectors(Plugins(home), home))
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


def _ready(view: View, found: "Served", home: "Home", link: str | None) -> None:
    from stead.config.settings import read_settings

    found.begin(read_settings(home).value.engines.preload)
    view.announce(found, link)


def _start(found: "Served", *, quiet: bool) -> None:
    for note in found.notes:
        console.note(f"note: {note}")
    for local in found.local:
        if not quiet:
            console.note(f"loading {local.order.model} with {local.engine_name} …")
        local.start()


def _stop(made: "_Made | None", found: "Served", watchers: list[Any]) -> None:  # Any: as below
    if made is not None:
        made.stop()
    found.stop()
    for watcher in watchers:
        watcher.close()


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
    found = [k for k in (option, os.environ.get(KEY_VARIABLE)) if k is not None]
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
