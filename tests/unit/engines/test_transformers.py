"""The transformers engine as a program of its own: many at once, adapters by the request's model."""

import asyncio
import shutil

import pytest
from tests.fakes.adapters import train

from stead.core.errors import BackendError, ConfigError
from stead.core.http import Http
from stead.engines.engine import ENGINES, Order
from stead.inference.remote import Remote
from stead.messages import GenerateRequest, Sampling


@pytest.fixture(scope="module")
def place(tiny_model, tmp_path_factory):
    place = tmp_path_factory.mktemp("adapters")
    train(tiny_model, place / "poet", 1)
    train(tiny_model, place / "clerk", 2)
    return place


@pytest.fixture(scope="module")
def endpoint(tiny_model, place, tmp_path_factory):
    engine = ENGINES.create("transformers")
    order = Order(
        model=str(tiny_model),
        name="tiny",
        adapters=(str(place),),
        threads=1,
        parallel=4,
        exact=True,
    )
    yield engine.start(order, tmp_path_factory.mktemp("engine") / "one")
    engine.stop()


def ask(model="tiny", **more):
    sampling = Sampling(temperature=0, max_tokens=16, logprobs=0, **more)
    return GenerateRequest(model=model, prompt="the quick brown", sampling=sampling)


def talk(endpoint, work):
    async def run():
        backend = Remote(endpoint.url, token=endpoint.token, http=Http(keepalive_s=0))
        try:
            return await work(backend)
        finally:
            await backend.close()

    return asyncio.run(run())


@pytest.mark.spec("004-034")
def test_ten_clients_at_once_get_what_each_gets_alone(endpoint):
    models = ["tiny", "tiny:poet", "tiny:clerk", "poet", "tiny"] * 2

    async def together(backend):
        return await asyncio.gather(*(backend.generate(ask(m)) for m in models))

    found = talk(endpoint, together)
    alone = [talk(endpoint, lambda b, m=m: b.generate(ask(m))) for m in models[:5]]

    assert [r.choices for r in found] == [r.choices for r in alone * 2]
    assert len({r.text for r in alone}) == 3
    assert alone[3].model == "tiny:poet"


def test_adapters_come_and_go_while_it_runs(endpoint, place):
    shutil.copytree(place / "poet", place / "bard")
    listed = {c.id for c in talk(endpoint, lambda b: b.models())}
    same = talk(endpoint, lambda b: b.generate(ask("tiny:bard"))).text

    shutil.rmtree(place / "bard")

    assert listed == {"tiny", "tiny:bard", "tiny:clerk", "tiny:poet"}
    assert same == talk(endpoint, lambda b: b.generate(ask("tiny:poet"))).text
    with pytest.raises(BackendError, match="did you mean 'poet'") as caught:
        talk(endpoint, lambda b: b.generate(ask("tiny:poets")))
    assert caught.value.details["status"] == 404


def test_an_adapter_for_good_and_others_by_request_exclude_each_other(tiny_model, place, tmp_path):
    order = Order(model=str(tiny_model), name="t", adapter=str(place), adapters=(str(place),))

    with pytest.raises(ConfigError, match="name it among the others"):
        ENGINES.create("transformers").start(order, tmp_path)
