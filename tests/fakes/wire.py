"""Hypothesis strategies for what flows to and from a model, and what is left of it without some fields."""

import base64
import json

from hypothesis import strategies as st
from msgspec.structs import replace

from stead.messages import (
    GenerateRequest,
    ImagePart,
    Message,
    Sampling,
    TextPart,
    TokenLogprob,
    ToolCall,
    Usage,
)
from stead.wire import given

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(12)).decode()
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}}}

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
some = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
word = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
share = st.floats(0, 1)
samplings = st.builds(
    Sampling,
    max_tokens=st.none() | st.integers(1, 2**31 - 1),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | share,
    top_k=st.none() | st.integers(0, 1000),
    min_p=st.none() | share,
    seed=st.none() | st.integers(-(2**31), 2**31 - 1),
    stop=st.lists(some, max_size=4).map(tuple),
    frequency_penalty=st.none() | st.floats(-2, 2),
    presence_penalty=st.none() | st.floats(-2, 2),
    repeat_penalty=st.none() | st.floats(0, 10),
    logprobs=st.none() | st.integers(0, 20),
    logit_bias=st.sampled_from([{}, {"1": 2.0}]),
    n=st.sampled_from([1, 2]),
)
arguments = st.dictionaries(some, some | st.integers() | st.none(), max_size=2).map(json.dumps)
calls = st.builds(ToolCall, word, word, arguments)
images = st.builds(
    ImagePart, st.just(f"data:image/png;base64,{PNG}"), st.sampled_from([None, "low"])
)
parts = st.tuples(some.map(TextPart), images)
users = st.builds(Message, st.just("user"), text | parts, st.none() | some)
assistants = st.builds(
    Message,
    st.just("assistant"),
    text,
    tool_calls=st.just(()),
    reasoning=st.none() | some,
)


@st.composite
def turns(draw):
    """A turn: a user's, an assistant's, or calls and the answers to all of them."""
    kind = draw(st.sampled_from(["user", "assistant", "calls"]))
    if kind != "calls":
        return [draw(users if kind == "user" else assistants)]
    made = draw(st.lists(calls, min_size=1, max_size=2, unique_by=lambda c: c.id))
    answers = [Message("tool", draw(text), tool_call_id=c.id) for c in made]
    return [Message("assistant", "", tool_calls=tuple(made)), *answers]


@st.composite
def conversations(draw):
    """Messages whose calls have ids of their own; the system speaks first if at all."""
    system = [Message("system", draw(some)) for _ in range(draw(st.integers(0, 2)))]
    found = [*system, draw(users)]
    for i, turn in enumerate(draw(st.lists(turns(), max_size=3))):
        found += [_renumbered(m, i) for m in turn]
    return tuple(found)


def _renumbered(message, turn):
    called = tuple(replace(c, id=f"{c.id}{turn}") for c in message.tool_calls)
    answered = None if message.tool_call_id is None else f"{message.tool_call_id}{turn}"
    return replace(message, tool_calls=called, tool_call_id=answered)


def requests(messages, extra):
    """Chats with anything that can be asked for."""
    return st.builds(
        GenerateRequest,
        model=word,
        messages=messages,
        sampling=samplings,
        tools=st.sampled_from([(), (TOOL,)]),
        tool_choice=st.sampled_from([None, "required"]),
        response_format=st.sampled_from([None, {"type": "json_object"}, SCHEMA]),
        stream=st.booleans(),
        user=st.none() | some,
        extra=extra,
    )


usages = st.integers(0, 10**6).flatmap(
    lambda n: st.builds(Usage, st.integers(0, 10**6), st.just(n))
)
logprobs = st.lists(
    st.builds(
        TokenLogprob,
        text,
        st.floats(-50, 0),
        st.none(),
        st.lists(st.tuples(text, st.floats(-50, 0)), max_size=2).map(tuple),
    ),
    max_size=2,
).map(tuple)


def dropped_names(dialect, request):
    """The fields that a dialect says it drops."""
    found = [d for d in dialect.drops(request) if d.kind == given.DROPPED]
    return {d.detail.partition(" ")[0] for d in found}


def without(request, names):
    """The request as if the named things had not been asked for."""
    fields = {n for n in names if n in GenerateRequest.__struct_fields__}
    knobs = {n for n in names if n in Sampling.__struct_fields__}
    plain, calm = GenerateRequest(model=""), Sampling()
    messages = None
    if request.messages is not None:
        messages = tuple(_without(m, names) for m in request.messages)
    return replace(
        request,
        messages=messages,
        sampling=replace(request.sampling, **{n: getattr(calm, n) for n in knobs}),
        extra={k: v for k, v in request.extra.items() if k not in names},
        **{n: getattr(plain, n) for n in fields},
    )


def _without(message, names):
    content = message.content
    if isinstance(content, tuple) and "messages.detail" in names:
        content = tuple(replace(p, detail=None) if isinstance(p, ImagePart) else p for p in content)
    name = None if "messages.name" in names else message.name
    return replace(message, content=content, name=name)
