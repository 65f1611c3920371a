"""Wrappers around a Backend: names, several answers as one, what an engine lacks."""

import asyncio

import pytest
from msgspec.structs import replace

from stead.core.errors import BackendError, NotFound
from stead.engines.engine import OURS_IGNORE
from stead.inference.backends.echo import Echo
from stead.inference.fan import merge_streams
from stead.inference.fill import Filled
from stead.inference.lacking import Lacking
from stead.inference.route import ByName
from stead.messages import EmbedRequest, GenerateRequest, Message, Sampling, TokenLogprob, Usage

CHAT = GenerateRequest(model="m", messages=(Message("user", "one two  three"),))
PLAIN = GenerateRequest(model="m", prompt="one two")


async def collect(stream):
    return [chunk async for chunk in stream]


class Recorder(Echo):
    """An echo that remembers what it was asked and always has two alternatives to tell."""

    def __init__(self):
        super().__init__("m")
        self.asked = []

    async def generate(self, request, deadline=None):
        self.asked.append(request)
        reply = await super().generate(request, deadline)
        lps = (TokenLogprob("a", -1.0, top=(("a", -1.0), ("b", -2.0))),)
        return replace(reply, choices=(replace(reply.choices[0], logprobs=lps),))


def test_streamed_text_equals_whole_text_whitespace_kept():
    whole = asyncio.run(Echo().generate(CHAT))
    chunks = asyncio.run(collect(Echo().stream(CHAT)))

    assert "".join(c.text for c in chunks) == whole.text == "one two  three"
    assert chunks[-1].usage == whole.usage


def test_names_lead_to_backends_and_answers_bear_the_name_that_was_asked():
    backend = ByName({"public": (Echo("inner"), "inner"), "same": (Echo("same"), "same")})

    reply = asyncio.run(backend.generate(replace(CHAT, model="public")))
    chunks = asyncio.run(collect(backend.stream(replace(CHAT, model="public"))))
    vectors = asyncio.run(backend.embed(EmbedRequest(model="public", input=("x",))))

    assert {reply.model, vectors.model, *(c.model for c in chunks)} == {"public"}
    assert [c.id for c in asyncio.run(backend.models())] == ["public", "same"]


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(NotFound, match="did you mean 'public'") as caught:
        asyncio.run(ByName({"public": (Echo(), "echo")}).generate(replace(CHAT, model="pulbic")))

    assert (caught.value.code, caught.value.details["param"]) == ("model-not-found", "model")


def test_several_choices_are_requests_of_their_own_with_usage_added_up():
    inner = Recorder()
    request = replace(CHAT, sampling=Sampling(n=3, seed=7))

    reply = asyncio.run(Filled(inner, frozenset({"n"})).generate(request))

    assert [c.index for c in reply.choices] == [0, 1, 2]
    assert sorted(r.sampling.seed for r in inner.asked) == [7, 8, 9]
    assert reply.usage == Usage(prompt_tokens=3, completion_tokens=9)


def test_several_choices_stream_together_and_end_once_each():
    backend = Filled(Echo("m"), frozenset({"n"}))

    chunks = asyncio.run(collect(backend.stream(replace(CHAT, sampling=Sampling(n=2)))))

    texts = ["".join(c.text for c in chunks if c.index == i) for i in (0, 1)]
    assert texts == ["one two  three"] * 2
    assert sum(c.finish_reason is not None for c in chunks) == 2
    assert len({c.id for c in chunks}) == 1
    assert [c.usage for c in chunks if c.usage] == [Usage(3, 6)]


def test_echo_is_put_in_front_whole_and_streamed():
    backend = Filled(Echo("m"), frozenset({"echo"}))
    request = replace(PLAIN, echo=True)

    whole = asyncio.run(backend.generate(request)).text
    streamed = "".join(c.text for c in asyncio.run(collect(backend.stream(request))))

    assert whole == streamed == "one twoone two"


@pytest.mark.parametrize(
    "request_",
    [
        replace(PLAIN, echo=True, sampling=Sampling(logprobs=1)),
        replace(PLAIN, prompt=(1,), echo=True),
    ],
)
def test_an_echo_that_cannot_be_had_is_refused(request_):
    with pytest.raises(BackendError) as caught:
        asyncio.run(Filled(Echo("m"), frozenset({"echo"})).generate(request_))

    assert (caught.value.code, caught.value.details["status"]) == ("not-supported", 400)


def test_zero_alternatives_are_asked_as_one_and_cut_again():
    inner = Recorder()
    backend = Filled(inner, frozenset({"zero_logprobs", "exact_seed"}))

    zero = asyncio.run(backend.generate(replace(CHAT, sampling=Sampling(logprobs=0, seed=1))))
    none = asyncio.run(backend.generate(CHAT))

    assert inner.asked[0].sampling.logprobs == 1
    assert inner.asked[0].extra == {"cache_prompt": False}
    assert zero.choices[0].logprobs == (TokenLogprob("a", -1.0),)
    assert none.choices[0].logprobs == ()


def test_one_failing_stream_ends_all_and_closes_them():
    closed = []

    async def part(fails):
        try:
            async for chunk in Echo(delay_s=0.01).stream(CHAT):
                yield chunk
                if fails:
                    raise BackendError("planted", "planted")
        finally:
            closed.append(fails)

    with pytest.raises(BackendError, match="planted"):
        asyncio.run(collect(merge_streams([part(True), part(False)], choices=1, same_prompt=True)))

    assert sorted(closed) == [False, True]


def test_the_echo_stops_at_stop_texts_and_limits_and_keeps_its_deadline():
    stop = asyncio.run(Echo().generate(replace(CHAT, sampling=Sampling(stop=(" two",)))))
    cut = asyncio.run(Echo().generate(replace(CHAT, sampling=Sampling(max_tokens=1))))

    assert (stop.text, stop.choices[0].finish_reason) == ("one", "stop")
    assert (cut.text, cut.choices[0].finish_reason) == ("one", "length")
    with pytest.raises(BackendError, match="deadline"):
        asyncio.run(Echo(delay_s=1).generate(CHAT, 0.0))


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"reasoning_effort": "high", "metadata": {"a": 1}}, ["reasoning_effort"]),
        ({"parallel_tool_calls": False}, ["parallel_tool_calls"]),
        ({"parallel_tool_calls": True, "verbosity": None}, []),
    ],
)
def test_what_an_engine_of_ours_ignores_is_a_deviation_or_a_refusal(extra, told):
    backend = Lacking(Echo("m"), frozenset(), ignores=OURS_IGNORE)
    request = replace(CHAT, extra=extra)

    whole = asyncio.run(backend.generate(request))
    streamed = asyncio.run(collect(backend.stream(request)))[0]

    assert [d.detail.partition(":")[0] for d in whole.deviations] == told
    assert streamed.deviations == whole.deviations
    if told:
        with pytest.raises(BackendError):
            asyncio.run(backend.generate(replace(request, strict=True)))
