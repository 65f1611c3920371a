"""Our own server of any Backend on loopback, in a thread, as `stead serve` runs it."""

import threading
from contextlib import contextmanager

from stead.serving.asgi import App
from stead.serving.settings import Settings
from stead.web import server


@contextmanager
def served(backend, *, drain_s=5.0, app=None, **options):
    """Yield (url, app, stop); `stop()` begins the drain as SIGTERM does."""
    settings = options.pop("settings", Settings())
    made = App(backend, settings, **options) if app is None else app
    bound = server.bind("127.0.0.1", 0)
    ready = threading.Event()
    running = server._server(made, ready.set, drain_s)
    thread = threading.Thread(target=lambda: running.run(sockets=[bound]), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server.url_of(bound), made, lambda: running.handle_exit(15, None)
    finally:
        if running.drain_until is None:
            running.handle_exit(15, None)
        thread.join(drain_s + 10)
        bound.close()
        assert not thread.is_alive()


@contextmanager
def reachable(backend, **settings):
    """Yield only the server's URL, for clients that open sockets themselves."""
    with served(backend, settings=Settings(**settings)) as (url, _, _):
        yield url
