"""Any Backend behind a real server on loopback, for clients that open sockets themselves."""

import socket
import threading
from contextlib import contextmanager

import uvicorn

from stead.serving.asgi import App
from stead.serving.settings import Settings


@contextmanager
def served(backend, **settings):
    """Yield the server's URL."""
    config = uvicorn.Config(
        App(backend, Settings(**settings)), log_level="critical", lifespan="on", access_log=False
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
