"""The transformers engine as a program of its own: many at once, adapters by the request's model."""

import asyncio
import shutil

import pytest
from tests.fakes.adapters import train

from stead.app.choosing import Wanted
from stead.app.served import Books, served
from stead.core.errors import BackendError, ConfigError
from stead.core.metrics import Metrics
from stead.core.paths import Home
from stead.engines.engine import ENGINES, Order
from stead.messages import GenerateRequest, Sampling


@pytest.fixture(scope="module")
def place(tiny_model, tmp_path_factory):
    place = tmp_path_factory.mktemp("adapters")
    train(tiny_model, place / "poet", 1)
    train(tiny_model, place / "clerk", 2)
    return place


@pytest.fixture(scope="module")
def backend(tiny_model, place, tmp_path_factory):
    wanted = Wanted(str(tiny_model), name="tiny", threads=1, adapters=(str(place),), exact=True)
    found = served([wanted], [], Home(tmp_path_factory.mktemp("home")), Books(Metrics()))
    with asyncio.Runner() as runner:
        yield runner, found.backend
        runner.run(found.backend.close())


def ask(model="tiny", **more):
    sampling = Sampling(temperature=0, max_tokens=16, logprobs=0, **more)
    return GenerateRequest(model=model, prompt="the quick brown", sampling=sampling)


@pytest.mark.spec("004-034", "004-062")
def test_ten_clients_at_once_get_what_each_gets_alone(backend):
    runner, backend = backend
    models = ["tiny", "tiny:poet", "tiny:clerk", "tiny:poet", "tiny"] * 2

    async def both():
        together = await asyncio.gather(*(backend.generate(ask(m)) for m in models))
        return together, [await backend.generate(ask(m)) for m in models[:5]]

    found, alone = runner.run(both())

    assert [r.choices for r in found] == [r.choices for r in alone * 2]
    assert len({r.text for r in alone}) == 3
    assert alone[1].model == "tiny:poet"


def test_adapters_come_and_go_while_it_runs(backend, place):
    runner, backend = backend

    async def listed():
        shutil.copytree(place / "poet", place / "bard")
        names = {card.id for card in await backend.models()}
        same = (await backend.generate(ask("tiny:bard"))).text
        shutil.rmtree(place / "bard")
        return names, same, (await backend.generate(ask("tiny:poet"))).text

    names, bard, poet = runner.run(listed())

    assert names == {"tiny", "tiny:bard", "tiny:clerk", "tiny:poet"}
    assert bard == poet
    with pytest.raises(BackendError, match="did you mean 'poet'") as caught:
        runner.run(backend.generate(ask("tiny:poets")))
    assert caught.value.details["status"] == 404


def test_an_adapter_for_good_and_others_by_request_exclude_each_other(tiny_model, place, tmp_path):
    order = Order(model=str(tiny_model), name="t", adapter=str(place), adapters=(str(place),))

    with pytest.raises(ConfigError, match="name it among the others"):
        ENGINES.create("transformers").start(order, tmp_path)
