"""`stead.Client` against a real server: what it sends, what it follows, what it raises."""

import asyncio
import json
import threading
import time

import pytest
from tests.fakes.platform_server import platform_server

import stead
from stead.core.errors import BackendError, NotFound, UsageError
from stead.store.events import Stored
from stead.store.runs import Run


class Cutting:
    """Breaks the first two streams of events after a few pieces, as a server that is killed does."""

    def __init__(self, inner):
        self.inner, self.cuts = inner, 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or not scope["path"].endswith("/events") or self.cuts == 2:
            return await self.inner(scope, receive, send)
        self.cuts += 1
        left = 4

        async def failing(message):
            nonlocal left
            left -= 1
            if left < 0:
                raise ConnectionResetError("cut")
            await send(message)

        await self.inner(scope, receive, failing)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with platform_server(tmp_path_factory.mktemp("client"), is_open=True, around=Cutting) as found:
        yield found


@pytest.fixture
def client(server):
    with stead.Client(server[0]) as found:
        yield found


def rows(path, count=12):
    lines = ({"prompt": f"{i} + 1 =", "completion": str(i + 1)} for i in range(count))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def tell(platform, run, first, last):
    told = [Stored(i, {"seq": i, "event": "progress", "done": i}) for i in range(first, last)]
    points = {"loss": [(i, 1.0) for i in range(first, last)]}
    platform.stores.database.transact(
        lambda c: platform.stores.runs.record(c, run, told=told, points=points)
    )


def test_a_run_is_planned_started_once_steered_and_found(client, tmp_path, tiny_model):
    data = client.add_dataset(rows(tmp_path / "sums of ü.jsonl"), "sums")
    recipe = {"model": {"path": str(tiny_model)}, "data": {"path": data["id"]}, "trainer": {"max_steps": 2}}  # fmt: skip

    plan = client.plan(recipe)
    started = client.start_training(recipe, name="one", tags=["a"], key="k")
    again = client.start_training(recipe, name="one", tags=["a"], key="k")
    from_yaml = client.start_training(plan["yaml"])

    assert data["rows"] == 12
    assert [one["id"] for one in client.datasets(q="sums")] == [data["id"]]
    assert started == again
    assert started.status == "queued"
    assert from_yaml.run_id != started.run_id
    assert client.run(started.run_id)["tags"] == ["a"]
    assert started.run_id in [one["id"] for one in client.runs(state="queued")]
    assert client.steer(started.run_id, "cancel")["state"] == "cancelled"
    assert client.wait(started.run_id)["state"] == "cancelled"
    assert client.job(started.job_id, wait=True)["state"] == "cancelled"
    assert client.evaluate([str(tiny_model)], data["id"], ["perplexity"])["kind"] == "evaluation"
    assert client.models() == []


def test_a_run_is_followed_to_its_end_across_lost_connections(server, client):
    platform = server[1]
    platform.stores.runs.add(Run("r", "r", "running", "sft", "lora", "m", "d", "/x", time.time()))
    tell(platform, "r", 0, 5)

    def later():
        time.sleep(0.3)
        tell(platform, "r", 5, 8)
        platform.stores.runs.change("r", state="succeeded")

    writer = threading.Thread(target=later)
    writer.start()
    told = [event["seq"] for event in client.follow("r")]
    writer.join()

    assert told == list(range(8))
    assert [event["seq"] for event in client.follow("r", after=5)] == [6, 7]
    assert client.metrics("r", ["loss"])["steps"][-1] == 7


def test_refusals_are_the_same_errors_as_here(server, client):
    with pytest.raises(NotFound) as missing:
        client.run("none")
    with pytest.raises(UsageError) as wrong:
        client.ask("POST", "/api/chats", {"nonsense": 1})
    with pytest.raises(NotFound, match="no run 'none'"):
        next(client.follow("none"))
    with (
        stead.Client("http://127.0.0.1:9") as nobody,
        pytest.raises(BackendError, match="connection"),
    ):
        nobody.runs()

    assert missing.value.code == "no-run"
    assert (wrong.value.code, wrong.value.details["param"]) == ("invalid-request", "body.nonsense")


def test_the_async_client_has_the_same_methods(server):
    async def use():
        async with stead.AsyncClient(server[0]) as client:
            return await asyncio.gather(client.runs(), client.datasets(), client.models())

    names = {name for name in vars(stead.AsyncClient) if name[0] != "_"}

    assert len(asyncio.run(use())) == 3
    assert names == {name for name in vars(stead.Client) if name[0] != "_"}
