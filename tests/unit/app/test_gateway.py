"""The Python door: async and sync, local and remote, cheap to make."""

import asyncio
import os
import signal

import pytest

import stead
from stead.app import gateway
from stead.app.accounts import Accounts
from stead.app.asking import new_call
from stead.app.chat import Conversation
from stead.app.engines import Wanted, choose
from stead.core.errors import ConfigError, ModelError, NotFound
from stead.core.paths import Home
from stead.engines.engine import Order
from stead.inference.backends.echo import Echo
from stead.messages import Message


def echo(**options):
    return stead.Gateway("echo", backend=Echo(**options))


@pytest.mark.spec("004-013")
def test_streamed_chunks_joined_are_the_answer_whitespace_kept():
    async def run():
        async with echo() as g:
            whole = await g.generate("  one two\n three ")
            parts = [c.text async for c in g.stream("  one two\n three ")]
            return whole.text, parts

    text, parts = asyncio.run(run())

    assert "".join(parts) == text == "  one two\n three "
    assert len([p for p in parts if p]) > 1


def test_batch_embed_and_models():
    async def run():
        async with echo() as g:
            replies = await g.batch(["a", "b"])
            return [r.text for r in replies], await g.embed(["a"]), await g.models()

    texts, vectors, cards = asyncio.run(run())

    assert texts == ["a", "b"]
    assert len(vectors.vectors) == 1
    assert [c.id for c in cards] == ["echo"]


def test_the_sync_face_works_with_and_inside_a_running_loop():
    async def inside():
        return echo().sync.generate("x").text

    outside = echo().sync

    assert outside.generate("x", system="s", max_tokens=5).text == "x"
    assert "".join(c.text for c in outside.stream("a b")) == "a b"
    assert [r.text for r in outside.batch(["a"])] == ["a"]
    assert asyncio.run(inside()) == "x"


def test_options_are_checked():
    with pytest.raises(ConfigError, match="temprature"):
        echo().sync.generate("x", temprature=1)
    with pytest.raises(ConfigError, match="raw"):
        echo().sync.generate([Message("user", "x")], raw=True)
    with pytest.raises(ConfigError, match="model"):
        stead.Gateway()


def test_a_conversation_remembers_and_forgets():
    talk = Conversation(echo().sync, system="be kind")

    first = "".join(talk.ask("hello there"))
    turns = [m.role for m in talk.messages]
    talk.reset()

    assert first == "hello there"
    assert turns == ["system", "user", "assistant"]
    assert [m.role for m in talk.messages] == ["system"]


def test_a_turn_that_is_left_is_forgotten():
    talk = Conversation(echo().sync)

    answer = talk.ask("one two three")
    next(answer)
    answer.close()

    assert talk.turns == []


@pytest.mark.spec("004-026")
def test_a_local_model_starts_on_demand_and_again_after_it_died(tiny_gguf):
    async def run():
        async with stead.Gateway(str(tiny_gguf), threads=1, parallel=1) as g:
            first = (await g.generate("hello", max_tokens=4, temperature=0)).text
            local = g._backend
            os.kill(local.endpoint.pid, signal.SIGKILL)
            await asyncio.to_thread(local._engine._child.wait)
            again = (await g.generate("hello", max_tokens=4, temperature=0)).text
            pid = local.endpoint.pid
            return first, again, local.starts, pid

    first, again, starts, pid = asyncio.run(run())

    assert first == again
    assert starts == 2
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("has_ledger", [True, False])
def test_requests_to_a_local_model_are_written_down_where_a_ledger_is(
    tiny_model, tmp_path, monkeypatch, has_ledger
):
    home = Home(tmp_path).ensure()
    if has_ledger:
        asyncio.run(Accounts.open(home).close())
    monkeypatch.setattr(gateway, "LocalModel", lambda *_: Named())

    async def run():
        g = stead.Gateway(str(tiny_model), home=home)
        for text in ("one", "two"):  # closed in between: its books are opened anew
            await g.generate(text, tags=["here"])
            await g.close()
        return g.stats()

    stats = asyncio.run(run())

    assert (stats.requests, home.database.is_file()) == (2, has_ledger)
    if has_ledger:
        accounts = Accounts.open(home)
        entries = accounts.spend.entries(since=0.0, most=10)
        asyncio.run(accounts.close())
        assert [(e.tags, e.cost, e.usage.completion_tokens > 0) for e in entries] == [(("here",), 0, True)] * 2  # fmt: skip


class Named(Echo):
    """An engine that costs no start."""

    order = Order(model="tiny", name="tiny")
    endpoint = None


@pytest.mark.spec("003-008")
def test_the_engine_is_chosen_by_the_kind_of_model(tiny_gguf, tiny_model, tmp_path):
    home = Home(tmp_path)

    assert choose(Wanted(str(tiny_gguf)), home)[0] == "llama_cpp"
    kind, order = choose(Wanted(str(tiny_model), name="n"), home)
    assert (kind, order.name, order.model) == ("transformers", "n", str(tiny_model))


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (lambda g, m: Wanted(str(g), engine="transformers"), ConfigError),
        (lambda g, m: Wanted(str(m), engine="llama_cpp"), ConfigError),
        (lambda g, m: Wanted(str(m), engine="llama_ccp"), ConfigError),
        (lambda g, m: Wanted(str(g), adapter=str(m)), (ConfigError, ModelError)),
        (lambda g, m: Wanted("/no/such/model"), NotFound),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(
    wanted, error, tiny_gguf, tiny_model, tmp_path
):
    with pytest.raises(error):
        choose(wanted(tiny_gguf, tiny_model), Home(tmp_path))


@pytest.mark.parametrize(
    ("prompt", "options", "code", "words"),
    [
        ("x", {"max_token": 3}, "unknown-option", "max_token"),
        ("x", {"max_tokens": "3"}, "bad-option", "max_tokens: Expected"),
        ("x", {"temperature": -1}, "bad-option", "temperature"),
        ("x", {"stop": [1]}, "bad-option", "stop"),
        ([], {}, "bad-prompt", "none"),
        (None, {}, "bad-prompt", "none"),
        ([{"role": "user", "text": "x"}], {}, "bad-prompt", r"messages\[0\].*text"),
        ([{"role": "nobody", "content": "x"}], {}, "bad-prompt", "role"),
    ],
)
def test_what_cannot_be_asked_is_told_at_the_door(prompt, options, code, words):
    with pytest.raises(ConfigError, match=words) as caught:
        echo().sync.generate(prompt, **options)

    assert caught.value.code == code


def test_a_text_where_a_list_may_stand_is_one_text_and_messages_may_be_dictionaries():
    door = echo().sync
    said = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ]

    assert len(door.embed("one").vectors) == 1
    assert door.generate(said).text == door.generate([stead.Message("user", "hi")]).text == "hi"
    assert door.generate("a b c", stop="b").text == "a "
    assert new_call("urgent").tags == {"urgent"}
    with pytest.raises(ConfigError, match="list of prompts"):
        door.batch("one")
