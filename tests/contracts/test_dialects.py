"""Every generating dialect × everything that can be asked for: carried there and back, or named as dropped."""

import json

import pytest
from tests.fakes import wire as fakes

from stead.messages import GenerateRequest, Message, Sampling, ToolCall
from stead.wire.dialect import DIALECTS, GenerateDialect
from stead.wire.extras import EXTRAS
from stead.wire.given import given

KNOBS = {
    "max_tokens": 5, "temperature": 0.0, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "seed": 0,
    "stop": ("x",), "frequency_penalty": 0.5, "presence_penalty": 0.5, "repeat_penalty": 1.1,
    "logprobs": 0, "logit_bias": {"1": 1.0}, "n": 2,
}  # fmt: skip
CALLED = (
    Message("user", "x"),
    Message("assistant", None, tool_calls=(ToolCall("c1", "f", "{}"),)),
)
TALKS = {
    "messages.name": (Message("user", "x", "ann"),),
    "messages.image": (Message("user", (fakes.TextPart("x"), fakes.ImagePart(f"data:image/png;base64,{fakes.PNG}"))),),
    "messages.detail": (Message("user", (fakes.TextPart("x"), fakes.ImagePart(f"data:image/png;base64,{fakes.PNG}", "low"))),),
    "messages.reasoning": (Message("user", "x"), Message("assistant", "y", reasoning="z"), Message("user", "w")),
    "messages.tool_calls": (*CALLED, Message("tool", "z", tool_call_id="c1")),
    "messages.failed": (*CALLED, Message("tool", "z", tool_call_id="c1", failed=True)),
}  # fmt: skip
FIELDS = {
    "tools": {"tools": (fakes.TOOL,)},
    "tool_choice": {"tools": (fakes.TOOL,), "tool_choice": "required"},
    "response_format": {"response_format": fakes.SCHEMA},
    "user": {"user": "u"},
}
NAMES = [n for n in DIALECTS.names() if issubclass(DIALECTS.get(n), GenerateDialect)]
CHATS = [n for n in NAMES if DIALECTS.get(n).kind == "chat"]


def told(dialect, request):
    return {d.detail.partition(" ")[0] for d in dialect.drops(request)}


def kept(dialect, request):
    """What is left of a request after the way there and back."""
    return set(given(dialect.read_request(dialect.write_request(request)).generate[0]))


def check(name, request, asked):
    dialect = DIALECTS.create(name)
    assert asked in given(request)
    assert (asked in kept(dialect, request)) != (asked in told(dialect, request))


def plain(name, **more):
    """A request that every dialect of its kind carries."""
    chat = name in CHATS
    text = {"messages": (Message("user", "x"),)} if chat else {"prompt": "x"}
    return GenerateRequest(model="m", **text | more)


@pytest.mark.parametrize("knob", KNOBS)
@pytest.mark.parametrize("name", NAMES)
def test_a_knob_is_carried_or_told(name, knob):
    check(name, plain(name, sampling=Sampling(**{knob: KNOBS[knob]})), knob)


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("name", CHATS)
def test_what_messages_hold_is_carried_or_told(name, talk):
    check(name, plain(name, messages=TALKS[talk]), talk)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", CHATS)
def test_a_field_is_carried_or_told(name, field):
    check(name, plain(name, **FIELDS[field]), field)


@pytest.mark.parametrize("name", NAMES)
def test_what_only_others_know_is_told_and_not_sent(name):
    row = next(r for r in sorted(EXTRAS, key=len, reverse=True) if name.startswith(r))
    dialect = DIALECTS.create(name)

    for extra in frozenset().union(*EXTRAS.values()) - EXTRAS[row]:
        request = plain(name, extra={extra: "low"})
        assert extra in told(dialect, request), extra
        assert extra not in json.loads(dialect.write_request(request)), extra


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_request_has_nothing_to_tell(name):
    assert {
        d.detail for d in DIALECTS.create(name).drops(plain(name, sampling=Sampling(max_tokens=5)))
    } == set()
