"""More than there is room for: refused at once, the rest answered, everything given back."""

import asyncio
import time

import pytest
from tests.fakes.asgi import call

from stead.core.errors import BackendError
from stead.inference.backends.echo import Echo
from stead.serving.access_log import facts
from stead.serving.asgi import App
from stead.serving.settings import Settings

CHAT = "/v1/chat/completions"
ASK = {"model": "echo", "messages": [{"role": "user", "content": "a b c"}]}


def test_ten_times_too_many_are_refused_at_once_and_the_rest_is_answered():
    async def run():
        app = App(Echo(delay_s=0.01), Settings(concurrency=4, queue=4))
        took = {200: [], 503: []}

        async def one():
            begun = time.monotonic()
            answer = await call(app, CHAT, ASK)
            took[answer.status].append(time.monotonic() - begun)
            return answer

        answers = await asyncio.gather(*(one() for _ in range(80)))
        after = await call(app, CHAT, ASK)
        return answers, took, after, app

    answers, took, after, app = asyncio.run(run())

    refused = [a for a in answers if a.status == 503]
    assert len(took[200]) == 8
    assert all(int(a.headers[b"retry-after"]) >= 1 for a in refused)
    assert max(took[503]) < 0.25  # seconds; no refusal waits for a place
    assert after.status == 200
    assert app._admit.active == app._admit.waiting == 0


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_leaves_is_noted_as_gone(stream):
    seen = []

    async def run():
        app = App(Echo(delay_s=0.05), Settings(), watchers=[lambda e, s: seen.append(facts(e, s))])
        leave = asyncio.Event()
        task = asyncio.create_task(call(app, CHAT, ASK | {"stream": stream}, leave=leave))
        await asyncio.sleep(0.12 if stream else 0.05)
        leave.set()
        await task

    asyncio.run(run())

    assert seen[0]["code"] == "client-left"
    assert seen[0]["status"] == (200 if stream else 499)


class Shaky(Echo):
    """Every tenth answer fails, before or in the middle."""

    def __init__(self):
        super().__init__(delay_s=0.0005)
        self.count = 0

    def _trip(self):
        self.count += 1
        if self.count % 10 == 0:
            raise BackendError("upstream-failed", "scripted")

    async def generate(self, request, deadline=None):
        self._trip()
        return await super().generate(request, deadline)

    async def stream(self, request, deadline=None):
        async for chunk in super().stream(request, deadline):
            yield chunk
            self._trip()


@pytest.mark.spec("001-045")
def test_after_faults_and_disconnects_nothing_is_left_and_every_request_is_counted():
    seen = []

    async def run():
        app = App(Shaky(), Settings(concurrency=8), watchers=[lambda e, s: seen.append(e.status)])
        base = len(asyncio.all_tasks())

        async def one(i):
            leave = asyncio.Event()
            task = asyncio.create_task(call(app, CHAT, ASK | {"stream": i % 2 == 0}, leave=leave))
            if i % 7 == 0:
                await asyncio.sleep(0.001)
                leave.set()
            return await task

        for start in range(0, 300, 50):
            await asyncio.gather(*(one(i) for i in range(start, start + 50)))
        await asyncio.sleep(0.01)
        return app, len(asyncio.all_tasks()) - base, (await call(app, "/metrics")).body.decode()

    app, more_tasks, metrics = asyncio.run(run())

    counted = sum(
        float(x.rpartition(" ")[2]) for x in metrics.splitlines()
        if x.startswith("stead_requests_total{")
    )  # fmt: skip
    assert more_tasks == 0
    assert app.active == []
    assert app._admit.active == app._admit.waiting == 0
    assert counted == 300
    assert len(seen) == 301
    assert {200, 502} <= set(seen)
