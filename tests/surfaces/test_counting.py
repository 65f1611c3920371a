"""Counting a prompt through the official `anthropic` client, by the engines that `stead serve` starts."""

import anthropic
import pytest
from tests.fakes.serving import reachable

from stead.app.engines import Wanted
from stead.app.served import Books, every, served
from stead.core.errors import BackendError
from stead.core.metrics import Metrics
from stead.core.paths import Home
from stead.inference.backends.echo import Echo
from stead.inference.fill import Filled
from stead.messages import GenerateRequest, Message

WORDS = [{"role": "user", "content": "the quick brown fox"}]
pytestmark = pytest.mark.timeout(60)


def counted(backend, model):
    """Return the counted tokens of a prompt, and those that its answer reports."""
    with (
        reachable(backend) as url,
        anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client,
    ):
        found = client.messages.count_tokens(model=model, messages=WORDS).input_tokens
        longer = client.messages.count_tokens(model=model, messages=WORDS, system="be brief")
        answer = client.messages.create(model=model, messages=WORDS, max_tokens=1)
        assert longer.input_tokens > found
        return found, answer.usage.input_tokens


def serving(model, home):
    wanted = Wanted(str(model), name="public", threads=1)
    return served([wanted], [], Home(home), Books(Metrics())).backend


@pytest.mark.parametrize("kind", ["tiny_gguf", "tiny_model"])
def test_a_local_model_counts_what_it_then_reads(kind, request, home):
    found, read = counted(serving(request.getfixturevalue(kind), home), "public")

    assert found == read > 4


def test_a_model_loaded_on_demand_counts(tiny_gguf, home):
    place = Home(home)
    place.ensure().config.write_text(f"engines:\n  models_dirs: [{tiny_gguf.parent}]\n")
    found, read = counted(
        served([], [], place, Books(Metrics()), every(place)).backend, tiny_gguf.stem
    )

    assert found == read > 4


async def test_an_engine_without_a_route_reads_the_prompt_and_says_its_usage():
    asked = GenerateRequest(model="m", messages=(Message("user", "a b c"),))
    plain = Echo("m")

    counted = await Filled(plain, frozenset({"count"})).count(asked)

    assert counted == (await plain.generate(asked)).usage.prompt_tokens == 3


async def test_an_engine_that_reports_no_usage_is_not_believed():
    class Silent(Echo):
        async def generate(self, request, deadline=None):
            reply = await super().generate(request, deadline)
            return type(reply)(id="1", model="m", created=1, choices=reply.choices)

    asked = GenerateRequest(model="m", messages=(Message("user", "a b c"),))

    with pytest.raises(BackendError, match="counts no tokens"):
        await Filled(Silent("m"), frozenset({"count"})).count(asked)
