"""The platform on loopback, as `stead serve` runs it, and a browser-like client of plain sockets."""

import http.client
import json
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.fakes.serving import served

from stead.app.accounts import Accounts
from stead.app.fine_tuning import FineTuner
from stead.app.platform import Platform
from stead.app.served import Books, every
from stead.app.served import served as served_by
from stead.app.working import Working
from stead.core.metrics import Metrics
from stead.core.paths import Home
from stead.inference.backends.echo import Echo
from stead.serving.asgi import App
from stead.serving.file_store import FileStore
from stead.serving.fine_tuning import FineTuning
from stead.serving.settings import LOOPBACK_NAMES, Settings
from stead.web.app import Root
from stead.web.session_access import SessionAccess


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["code"]


class Client:
    """Asks one server; `cookie` and `csrf` make it a browser's session, `token` a program."""

    def __init__(self, url, cookie=None, csrf=None, token=None):
        self.url, self.cookie, self.csrf, self.token = url, cookie, csrf, token

    def ask(self, method, path, body=None, *, headers=None, raw=None, kind="application/json"):
        found = {}
        if self.cookie:
            found["Cookie"] = f"stead_session={self.cookie}"
        if self.csrf and method not in ("GET", "HEAD"):
            found["X-Stead-CSRF"] = self.csrf
        if self.token:
            found["Authorization"] = f"Bearer {self.token}"
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        if data is not None:
            found["Content-Type"] = kind
        found |= {} if headers is None else headers
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        try:
            connection.request(method, path, data, found)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def post(self, path, body=None, **options):
        return self.ask("POST", path, body, **options)

    def stream(self, path, lines, headers=None):
        """Return the first lines of an answer that goes on."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        try:
            connection.request(
                "GET", path, None, {"Cookie": f"stead_session={self.cookie}", **(headers or {})}
            )
            answer = connection.getresponse()
            return [answer.readline().decode().rstrip("\n") for _ in range(lines)]
        finally:
            connection.close()


@contextmanager
def platform_server(
    root, *, is_open=False, clock=None, keyed=True, models=None, works=False, around=None, hosts=()
):
    """Yield (url, platform). `models`: name → folder that can be tuned; `works`: jobs are carried out.

    `around` wraps the app; `hosts` are further names it answers to.
    """
    settings = Settings(hosts=LOOPBACK_NAMES | {*hosts})
    import asyncio

    home = Home(root).ensure()
    accounts = Accounts.open(home)
    options = {} if clock is None else {"clock": clock}
    books = Books(Metrics(), accounts.shared, accounts.ledger)
    served_here = served_by([], [], home, books, every(home), may_be_empty=True)
    platform = Platform.of(home, accounts, is_open=is_open, **options)
    platform.identities.owner(platform.clock())
    sessions = SessionAccess(accounts.access if keyed else None)
    store = FileStore(home.root / "files")
    routes = {"/v1/fine_tuning": FineTuning(FineTuner(platform, store, models or {}), settings)}
    gateway = App(
        served_here.backend if works else Echo(), settings, access=sessions, groups=routes,
        watchers=[platform.requests], files=home.root / "files",
    )  # fmt: skip
    working = Working(home, platform.stores)
    if works:
        working.start()
    try:
        root = Root(gateway, platform, settings, sessions)
        with served(Echo(), app=root if around is None else around(root)) as (url, _, _):
            yield url, platform
    finally:
        working.stop()
        asyncio.run(accounts.close())


def browser(url, platform, user="owner"):
    """Return a client that is signed in; logins themselves are limited, so the session is made here."""
    platform.identities.forget()
    session = platform.identities.sessions.open(user)
    return Client(url, session.token, session.csrf)
