"""What a server answers for: models by name, strategies, everything that is found here."""

import asyncio

import pytest

from stead.app.engines import Wanted
from stead.app.served import Books, every, served
from stead.app.several import Several
from stead.core.errors import ConfigError, NotFound
from stead.core.metrics import Metrics
from stead.inference.backends.echo import Echo
from stead.inference.meter import MemoryLedger
from stead.messages import Call, EmbedRequest, GenerateRequest, Message


def ask(model):
    return GenerateRequest(model=model, messages=(Message("user", "a b"),), call=Call(id="1"))


def test_the_first_that_knows_a_name_has_it():
    async def run():
        one, two = Echo("one"), Echo("two")
        both = Several([(frozenset({"a"}), one), (frozenset({"a", "b"}), two)])
        names = [(await both.generate(ask(n))).model for n in ("a", "b")]
        vectors = (await both.embed(EmbedRequest(model="b", input=("x",)))).model
        streamed = [c.model async for c in both.stream(ask("b"))]
        cards = [c.id for c in await both.models()]
        with pytest.raises(NotFound, match="'bb'"):
            await both.generate(ask("bb"))
        return names, vectors, set(streamed), cards

    assert asyncio.run(run()) == (["one", "two"], "two", {"two"}, ["one", "two"])


def test_nothing_and_the_same_name_twice_are_refused(home, tiny_gguf):
    books = Books(Metrics())

    with pytest.raises(ConfigError, match="--model"):
        served([], [], home, books)
    with pytest.raises(ConfigError, match="twice"):
        served([Wanted(str(tiny_gguf))] * 2, [], home, books)


def test_everything_found_here_is_loaded_when_asked_for_and_counted(home, tiny_gguf):
    home.ensure().config.write_text(f"engines:\n  models_dirs: [{tiny_gguf.parent}]\n")
    ledger = MemoryLedger()

    async def run():
        found = served([], [], home, Books(Metrics(), ledger=ledger), every(home))
        before = found.engines.status()
        reply = await found.backend.generate(ask(tiny_gguf.stem), None)
        after = [s.name for s in found.engines.status()]
        await found.backend.close()
        return before, reply, after

    before, reply, after = asyncio.run(run())

    assert before == []
    assert after == [tiny_gguf.stem]
    assert ledger.entries[0].cost == 0
    assert ledger.entries[0].usage == reply.usage
