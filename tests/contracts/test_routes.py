"""Every route that our server has: a client that leaves cancels the work within 250 ms."""

import asyncio
import time

import pytest
from tests.fakes.asgi import call

from stead.inference.backends.echo import Echo
from stead.messages import EmbedRequest, GenerateRequest, Message
from stead.serving.asgi import App
from stead.serving.settings import Settings
from stead.wire.dialect import DIALECTS

SERVED = [n for n in DIALECTS.names() if DIALECTS.create(n).serves]
CANCEL_S = 0.25


class Hanging(Echo):
    """Never answers; says when it was begun and when it was cancelled."""

    def __init__(self):
        super().__init__()
        self.begun, self.left = asyncio.Event(), asyncio.Event()

    async def _hang(self):
        self.begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.left.set()

    async def generate(self, request, deadline=None):
        await self._hang()

    async def stream(self, request, deadline=None):
        await self._hang()
        yield

    async def embed(self, request, deadline=None):
        await self._hang()

    async def count(self, request, deadline=None):
        await self._hang()


def body(dialect, stream):
    if dialect.kind == "embedding":
        return dialect.write_request(EmbedRequest(model="echo", input=("a",)))
    prompt = {"prompt": "a"} if dialect.kind == "completion" else {
        "messages": (Message("user", "a"),)
    }  # fmt: skip
    return dialect.write_request(GenerateRequest(model="echo", stream=stream, **prompt))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", SERVED)
def test_a_client_that_leaves_cancels_the_work_on_every_route(name, stream):
    async def run():
        backend, leave = Hanging(), asyncio.Event()
        app = App(backend, Settings(concurrency=1))
        dialect = DIALECTS.create(name)
        sent = asyncio.create_task(call(app, dialect.path, body(dialect, stream), leave=leave))
        async with asyncio.timeout(5):
            await backend.begun.wait()
        left = time.monotonic()
        leave.set()
        async with asyncio.timeout(5):
            await backend.left.wait()
            took = time.monotonic() - left
            await sent
        return took, app

    took, app = asyncio.run(run())

    assert took < CANCEL_S
    assert app._admit.active == app._admit.waiting == 0
    assert app.active == []
