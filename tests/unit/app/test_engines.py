"""Local models on demand: loaded once, kept, evicted by age, never under a request."""

import asyncio
import threading

import psutil
import pytest
from tests.fakes.adapters import train

from stead.app.choosing import Choice, Wanted, check_gpu, expected_bytes, plan
from stead.app.engines import Engines, Keeping
from stead.app.keeping import State
from stead.app.shelf import Shelved
from stead.core.errors import BackendTimeout, ModelError, NotFound, ResourceError
from stead.core.hardware import Gpu, Hardware
from stead.engines.engine import ENGINES, Order
from stead.hub.discover import Local
from stead.hub.inspect import inspect
from stead.inference.backend import Backend
from stead.inference.backends.echo import Echo
from stead.messages import GenerateRequest, Message, Sampling

GB = 10**9


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Program(Backend):
    """Stands where a LocalModel stands: starting and stopping are counted, answers can be held up."""

    def __init__(self, name, world):
        self.name, self.world, self.endpoint, self.starts = name, world, None, 0
        self.echo = Echo(name)

    def start(self):
        self.world.loading.append(self.name)
        self.world.may_load.wait(5)
        if self.name in self.world.broken:
            raise ModelError("load-failed", f"{self.name} is torn")
        self.starts += 1
        self.world.running.add(self.name)
        self.world.peak = max(self.world.peak, len(self.world.running))

    def memory_bytes(self):
        return self.world.measured.get(self.name)

    async def generate(self, request, deadline=None):
        assert self.name in self.world.running
        await self.world.may_answer.wait()
        assert self.name in self.world.running, "unloaded under a running request"
        return await self.echo.generate(request, deadline)

    def stream(self, request, deadline=None):
        return self.echo.stream(request, deadline)

    async def models(self):
        return []

    async def close(self):
        await asyncio.sleep(0.01)
        self.world.stopped.append(self.name)
        self.world.running.discard(self.name)


class World:
    """Engines over models of 4 GB each, with 10 GB for all: two fit."""

    def __init__(self, home, *, sizes=None, keeping=None, **more):
        self.sizes = {"a": 4, "b": 4, "c": 4, "huge": 11, "nine": 9} | (sizes or {})
        self.clock = Clock()
        self.running, self.loading, self.stopped, self.broken = set(), [], [], set()
        self.measured, self.peak = {}, 0
        self.may_load = threading.Event()
        self.may_load.set()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.engines = Engines(
            Shelved({n: Wanted(n) for n in self.sizes}),
            home,
            Keeping(10 * GB, 300.0, 0.3) if keeping is None else keeping,
            make=lambda choice, _: Program(choice.order.name, self),
            planned=lambda w, _: Choice("x", Order(model=w.model, name=w.model), self.sizes[w.model] * GB),
            clock=self.clock,
            **more,
        )  # fmt: skip

    async def ask(self, name, deadline=None):
        self.clock.now += 1
        return await self.engines.generate(
            GenerateRequest(model=name, messages=(Message("user", "hi"),)), deadline
        )


def run(home, work, **more):
    async def main():
        world = World(home, **more)
        try:
            return await work(world)
        finally:
            world.may_answer.set()
            world.may_load.set()
            await world.engines.close()

    return asyncio.run(main())


@pytest.mark.spec("004-026", "004-063")
def test_a_model_is_loaded_once_however_many_ask(home):
    async def work(world):
        replies = await asyncio.gather(*(world.ask("a") for _ in range(8)))
        return world, replies, world.engines.status()

    world, replies, status = run(home, work)

    assert world.loading == ["a"]
    assert {r.text for r in replies} == {"hi"}
    assert [(s.name, s.requests, s.active, s.bytes) for s in status] == [("a", 8, 0, 4 * GB)]


@pytest.mark.spec("001-068")
def test_the_model_unused_the_longest_makes_room(home):
    async def work(world):
        for name in ("a", "b", "a", "c"):
            await world.ask(name)
        return world, {s.name for s in world.engines.status()}

    world, loaded = run(home, work)

    assert world.stopped[0] == "b"
    assert loaded == {"a", "c"}
    assert world.peak == 2


def test_a_model_with_a_request_at_work_is_not_unloaded_and_the_other_waits(home):
    async def work(world):
        await world.ask("a")
        await world.ask("b")
        world.may_answer.clear()
        busy = [asyncio.create_task(world.ask(n)) for n in ("a", "b")]
        await asyncio.sleep(0.02)
        third = asyncio.create_task(world.ask("c"))
        await asyncio.sleep(0.05)
        before = set(world.running)
        world.may_answer.set()
        await asyncio.gather(*busy, third)
        return before, world

    before, world = run(home, work)

    assert before == {"a", "b"}
    assert "c" in world.loading
    assert world.peak == 2


def test_who_finds_no_room_in_time_is_told_who_is_busy(home):
    async def work(world):
        await asyncio.gather(world.ask("a"), world.ask("b"))
        world.may_answer.clear()
        busy = [asyncio.create_task(world.ask(n)) for n in ("a", "b")]
        await asyncio.sleep(0.02)
        world.engines._clock = __import__("time").monotonic
        with pytest.raises(ResourceError) as caught:
            await world.ask("c")
        world.may_answer.set()
        await asyncio.gather(*busy)
        return caught.value

    error = run(home, work)

    assert error.code == "engines-busy"
    assert "1 at work" in error.message
    assert error.details["status"] == 503


def test_idle_models_stay_when_unloading_them_would_not_help(home):
    async def work(world):
        await asyncio.gather(world.ask("a"), world.ask("b"))
        world.may_answer.clear()
        busy = asyncio.create_task(world.ask("a"))
        await asyncio.sleep(0.02)
        world.engines._clock = __import__("time").monotonic
        with pytest.raises(ResourceError):
            await world.ask("nine")
        still = set(world.running)
        world.may_answer.set()
        await busy
        return still

    assert run(home, work) == {"a", "b"}


def test_a_model_that_never_fits_is_refused_with_its_size(home):
    with pytest.raises(ResourceError, match="11,000,000,000") as caught:
        run(home, lambda world: world.ask("huge"))

    assert caught.value.code == "model-too-large"
    assert caught.value.hint.startswith("export STEAD_ENGINES_MEMORY_GB=")


def test_what_was_measured_counts_and_not_what_was_planned(home):
    async def work(world):
        world.measured = {"a": 7 * GB}
        await world.ask("a")
        await world.ask("b")
        return {s.name: s.bytes for s in world.engines.status()}, world.stopped[:1]

    status, stopped = run(home, work)

    assert status == {"b": 4 * GB}
    assert stopped == ["a"]


def test_a_failed_load_reaches_every_waiter_and_the_next_one_tries_again(home):
    async def work(world):
        world.broken.add("a")
        failed = await asyncio.gather(*(world.ask("a") for _ in range(3)), return_exceptions=True)
        world.broken.clear()
        return [type(f) for f in failed], (await world.ask("a")).text, len(world.loading)

    failed, text, loads = run(home, work)

    assert failed == [ModelError] * 3
    assert (text, loads) == ("hi", 2)


def test_the_deadline_ends_the_wait_and_not_the_loading(home):
    async def work(world):
        world.may_load.clear()
        with pytest.raises(BackendTimeout):
            await world.ask("a", __import__("time").monotonic() + 0.05)
        world.may_load.set()
        return (await world.ask("a")).text, world.loading

    assert run(home, work) == ("hi", ["a"])


@pytest.mark.spec("004-026")
def test_an_unused_model_is_unloaded_and_a_used_one_is_not(home):
    async def work(world):
        await world.ask("a")
        world.clock.now += 200
        await world.ask("b")
        world.clock.now += 150
        world.engines.sweep()
        await asyncio.sleep(0.05)
        return {s.name for s in world.engines.status()}, world.stopped[:1]

    assert run(home, work) == ({"b"}, ["a"])


@pytest.mark.spec("004-026")
def test_unload_waits_for_the_request_at_work(home):
    async def work(world):
        await world.ask("a")
        world.may_answer.clear()
        asked = asyncio.create_task(world.ask("a"))
        await asyncio.sleep(0.02)
        gone = asyncio.create_task(world.engines.unload("a"))
        await asyncio.sleep(0.03)
        during = set(world.running), [(s.name, s.active) for s in world.engines.status()]
        world.may_answer.set()
        return (
            during,
            (await asked).text,
            await gone,
            set(world.running),
            await world.engines.unload("a"),
        )

    during, text, gone, after, again = run(home, work)

    assert during == ({"a"}, [("a", 1)])
    assert (text, gone, after, again) == ("hi", True, set(), False)


def test_preload_says_what_could_not_be_loaded_and_goes_on(home):
    async def work(world):
        failed = await world.engines.preload(["nope", "a"])
        return {n: e.code for n, e in failed.items()}, world.running.copy()

    assert run(home, work) == ({"nope": "model-not-found"}, {"a"})


def test_names_mean_models_of_the_shelf_and_never_paths(tmp_path):
    found = [
        Local("base", tmp_path / "base", "model", 1, "folder"),
        Local("tickets", tmp_path / "tickets", "adapter", 1, "folder"),
        Local("q", tmp_path / "one" / "q.gguf", "gguf", 1, "folder"),
        Local("q", tmp_path / "two" / "q.gguf", "gguf", 1, "folder"),
    ]
    shelf = Shelved({"mine": Wanted("/m")}, lambda: found)

    assert shelf.names() == ["mine", "base", "tickets", "q", "two/q"]
    both = shelf.wanted("base:tickets")
    assert (both.model, both.adapter, both.name) == (
        str(tmp_path / "base"), str(tmp_path / "tickets"), "base:tickets",
    )  # fmt: skip
    assert shelf.wanted("two/q").model == str(tmp_path / "two" / "q.gguf")
    assert shelf.wanted("ollama:llama3.2:1b").model == "ollama:llama3.2:1b"
    for name in ("/etc/passwd", str(tmp_path), "bas", "base:q", "base:"):
        with pytest.raises(NotFound):
            shelf.wanted(name)


def test_needs_of_a_gpu_are_refused_with_what_is_here():
    bare = Hardware("cpu", 2, (), 8 * GB, 8 * GB, GB)
    small = Hardware("cpu", 2, (), 8 * GB, 8 * GB, GB, (Gpu("cuda", "T4", 16 * GB, 16 * GB),))

    check_gpu(Wanted("m"), bare)
    check_gpu(Wanted("m", requires_gpu=True), small)
    with pytest.raises(ResourceError) as none:
        check_gpu(Wanted("m", requires_gpu=True), bare)
    with pytest.raises(ResourceError, match="T4") as less:
        check_gpu(Wanted("m", min_gpu_memory_bytes=24 * GB), small)
    assert (none.value.code, less.value.code) == ("no-gpu", "gpu-too-small")


def test_the_expected_bytes_are_weights_cache_and_the_engine_itself(tiny_model, home):
    info = inspect(tiny_model, home=home)
    context = Order(model="m", name="m", context=100)

    found = expected_bytes(info, context, 1000)

    cache = 2 * info.layers * info.kv_heads * info.head_dim * 100 * 2
    assert found == int(1000 + info.size_bytes * 1.1 + cache)
    choice = plan(Wanted(str(tiny_model)), home)
    assert choice.bytes > ENGINES.get(choice.engine).process_bytes


def test_states_are_json(home):
    state = State("a", "x", "ready", 1, 0, 2, 3.0, 1, None)

    assert state.to_dict()["unused_s"] == 3.0


@pytest.fixture(scope="module")
def adapted(tiny_model, tmp_path_factory):
    """Two plain adapters of one base, and one of another kind that has to be put on for good."""
    place = tmp_path_factory.mktemp("adapters")
    train(tiny_model, place / "tickets", 1)
    train(tiny_model, place / "mails", 2)
    train(tiny_model, place / "dora", 3, dora=True)
    return place


@pytest.mark.spec("004-026", "004-063", "000-088")
def test_adapters_that_discovery_finds_share_one_copy_of_their_base(tiny_model, adapted, home):
    found = [
        Local("base", tiny_model, "model", 1, "folder"),
        *(Local(n, adapted / n, "adapter", 1, "folder") for n in ("tickets", "mails", "dora")),
    ]
    shelf = Shelved({}, lambda: found)

    async def work():
        engines = Engines(shelf, home, Keeping(64 * GB))
        before = engines.status()
        try:
            replies = {
                name: await engines.generate(
                    GenerateRequest(
                        model=name, prompt="Hello", sampling=Sampling(max_tokens=8, temperature=0.0)
                    )
                )
                for name in ("base:tickets", "base", "base:mails", "mails")
            }
            assert before == []
            return replies, engines.status()
        finally:
            await engines.close()

    replies, status = asyncio.run(work())

    assert not psutil.pid_exists(status[0].pid)
    assert [(s.name, s.requests, s.starts) for s in status] == [("base", 4, 1)]
    assert {name: r.model for name, r in replies.items()} == {name: name for name in replies}
    texts = [replies[name].text for name in ("base:tickets", "base", "base:mails")]
    assert len(set(texts)) == 3
    assert replies["mails"].text == replies["base:mails"].text
    alone = plan(shelf.wanted("base:dora"), home)
    assert (alone.switched, alone.order.adapter) == (None, str(adapted / "dora"))


def test_an_adapter_that_comes_later_is_served_by_the_copy_in_memory(tiny_model, adapted, home):
    shelf = Shelved(
        {},
        lambda: [
            Local("base", tiny_model, "model", 1, "folder"),
            *(Local(p.name, p, "adapter", 1, "folder") for p in sorted(adapted.iterdir())),
        ],
        fresh_s=-1.0,
    )

    before = plan(shelf.wanted("base"), home)
    train(tiny_model, adapted / "later", 4)
    after = plan(shelf.wanted("base:later"), home)

    assert after.copy == before.copy
    assert (after.switched, after.order.name) == ("later", "base")
