"""A kept answer is the same answer, for the same key only, and says that it was kept."""

import asyncio

import pytest
from msgspec.structs import replace

from stead.core.cache import Area
from stead.core.errors import BackendError
from stead.inference.backends.echo import Echo
from stead.inference.cached import Cached, key_of
from stead.inference.gather import Gathered, replay
from stead.messages import (
    Call,
    Choice,
    GenerateRequest,
    Message,
    Reply,
    Sampling,
    TokenLogprob,
    ToolCall,
    Usage,
)

COLD = Sampling(temperature=0, max_tokens=8)


def ask(text="one two", key="k", sampling=COLD, **more):
    return GenerateRequest(
        model="echo", messages=(Message("user", text),), sampling=sampling,
        call=Call(id="1", key=key), **more,
    )  # fmt: skip


class Counted(Echo):
    def __init__(self, fail=0, **options):
        super().__init__(**options)
        self.sent, self.fail = 0, fail

    async def generate(self, request, deadline=None):
        self.sent += 1
        reply = await super().generate(request, deadline)
        if self.sent <= self.fail:
            raise BackendError("upstream-failed", "no")
        return reply

    async def stream(self, request, deadline=None):
        self.sent += 1
        async for chunk in super().stream(request, deadline):
            yield chunk


def cached(inner, **options):
    return Cached(inner, Area("replies", 1 << 20), **options)


async def gathered(stream):
    found = Gathered()
    async for chunk in stream:
        found.add(chunk)
    return found.reply()


@pytest.mark.spec("000-089")
def test_streamed_or_not_the_second_time_nothing_is_sent():
    async def go():
        inner = Counted()
        backend = cached(inner)
        first = await gathered(backend.stream(ask()))
        request = ask()
        second = await backend.generate(request)
        third = await gathered(backend.stream(ask()))
        return inner.sent, first, second, third, request

    sent, first, second, third, request = asyncio.run(go())

    assert sent == 1
    assert first.choices == second.choices == third.choices
    assert first.usage == third.usage == Usage(2, 2)
    assert [d.kind for d in second.deviations] == ["cache_hit"]
    assert [d.kind for d in third.deviations] == ["cache_hit"]
    assert [d.kind for d in request.call.deviations] == ["cache_hit"]


@pytest.mark.parametrize(
    "other",
    [
        ask(key="other"),
        ask("one  two"),
        ask(sampling=replace(COLD, max_tokens=9)),
        ask(sampling=replace(COLD, seed=1)),
        ask(tools=({"type": "function"},)),
        ask(response_format={"type": "json_object"}),
        ask(extra={"x": 1}),
        replace(ask(), model="other"),
    ],
)
def test_whatever_may_change_the_answer_changes_the_key(other):
    assert key_of(other) != key_of(ask())
    assert key_of(replace(ask(), stream=True)) == key_of(ask())


@pytest.mark.parametrize(
    ("request_", "always", "sent"),
    [
        (ask(sampling=Sampling()), False, 2),
        (ask(sampling=Sampling(temperature=0.7)), False, 2),
        (ask(sampling=Sampling(temperature=0.7)), True, 1),
        (ask(sampling=Sampling(temperature=0.7, seed=0)), False, 1),
        (ask(strict=True), False, 2),
    ],
)
def test_only_answers_that_cannot_differ_are_kept(request_, always, sent):
    async def go():
        inner = Counted()
        backend = cached(inner, always=always)
        await backend.generate(request_)
        await backend.generate(request_)
        return inner.sent

    assert asyncio.run(go()) == sent


def test_equal_requests_at_once_are_one_and_a_failure_is_not_shared():
    async def go(fail):
        inner = Counted(fail, delay_s=0.002)
        backend = cached(inner)
        done = await asyncio.gather(
            *(backend.generate(ask()) for _ in range(10)), return_exceptions=True
        )
        return inner.sent, sum(isinstance(d, BackendError) for d in done)

    assert asyncio.run(go(0)) == (1, 0)
    assert asyncio.run(go(1)) == (2, 1)


def test_a_first_reader_who_leaves_lets_the_next_one_ask():
    async def go():
        inner = Counted(delay_s=0.002)
        backend = cached(inner)
        stream = backend.stream(ask())
        await anext(stream)
        second = asyncio.create_task(backend.generate(ask()))
        await asyncio.sleep(0)
        await stream.aclose()
        return (await second).text, inner.sent

    assert asyncio.run(go()) == ("one two", 2)


def test_a_reply_survives_being_a_stream():
    call = ToolCall("c1", "look", '{"a": 1}')
    reply = Reply(
        id="1", model="m", created=7, usage=Usage(1, 2),
        choices=(
            Choice(0, Message("assistant", "text", reasoning="why"), "stop", (TokenLogprob("text", -0.5),)),
            Choice(1, Message("assistant", None, tool_calls=(call, call)), "tool_calls"),
        ),
    )  # fmt: skip
    found = Gathered()
    for chunk in replay(reply):
        found.add(chunk)

    assert found.reply() == reply
