"""The OpenAI dialects: nothing is lost on the way there and back, and wrong requests are named."""

import json
import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes import messages as made
from tests.fakes.messages import TOOL

from stead.core.errors import BackendError, NotFound, RateLimited
from stead.messages import (
    Choice,
    Chunk,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    ImagePart,
    Message,
    Reply,
    Sampling,
    TextPart,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from stead.wire import sse
from stead.wire.dialect import DIALECTS, Asked, RequestRefused

CHAT = DIALECTS.create("openai_chat")
PLAIN = DIALECTS.create("openai_completions")
EMBED = DIALECTS.create("openai_embeddings")

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
some = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
share = st.floats(0, 1)
number = st.floats(-50, 0)
samplings = st.builds(
    Sampling,
    max_tokens=st.none() | st.integers(1, 2**31 - 1),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | share,
    top_k=st.none() | st.integers(0, 1000),
    min_p=st.none() | share,
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    stop=st.lists(some, max_size=4).map(tuple),
    frequency_penalty=st.none() | st.floats(-2, 2),
    presence_penalty=st.none() | st.floats(-2, 2),
    repeat_penalty=st.none() | st.floats(0, 10),
    logprobs=st.none() | st.integers(0, 20),
    logit_bias=st.dictionaries(st.sampled_from(["1", "7"]), st.floats(-100, 100), max_size=2),
    n=st.integers(1, 128),
)
calls = st.builds(ToolCall, id=some, name=some, arguments=text)
parts = st.lists(
    st.builds(TextPart, text) | st.builds(ImagePart, some, st.none() | st.just("low")),
    min_size=1,
    max_size=3,
).map(tuple)
messages = st.one_of(
    st.builds(Message, st.sampled_from(["system", "user"]), text | parts, st.none() | some),
    st.builds(
        Message,
        st.just("assistant"),
        text,
        tool_calls=st.lists(calls, max_size=2).map(tuple),
        reasoning=st.none() | some,
    ),
    st.builds(Message, st.just("tool"), text, tool_call_id=some),
)
chats = st.builds(
    GenerateRequest,
    model=some,
    messages=st.lists(messages, min_size=1, max_size=4).map(tuple),
    sampling=samplings,
    tools=st.sampled_from([(), (TOOL,)]),
    tool_choice=st.sampled_from([None, "auto", "none"]),
    response_format=st.sampled_from([None, {"type": "json_object"}]),
    stream=st.booleans(),
    user=st.none() | some,
    extra=st.sampled_from([{}, {"parallel_tool_calls": False}, {"metadata": {"a": "b"}}]),
)
completions = st.builds(
    GenerateRequest,
    model=some,
    prompt=text | st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5).map(tuple),
    sampling=samplings.map(lambda s: msgspec.structs.replace(s, max_tokens=s.max_tokens or 16)),
    stream=st.booleans(),
    user=st.none() | some,
    echo=st.booleans(),
)
usages = st.builds(Usage, *[st.integers(0, 10**6)] * 5)
logprobs = st.lists(
    st.builds(
        TokenLogprob,
        text,
        number,
        st.none() | st.integers(0, 10),
        st.lists(st.tuples(text, number), max_size=2).map(tuple),
        st.sampled_from([None, b"\xff\xfe"]),
    ),
    max_size=2,
).map(tuple)
answers = st.builds(
    Message,
    st.just("assistant"),
    text,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    reasoning=st.none() | some,
)
finish = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])
chunks = st.builds(
    Chunk,
    id=some,
    model=some,
    created=st.integers(0, 2**31),
    index=st.integers(0, 3),
    text=text,
    reasoning=text,
    tool_calls=st.lists(
        st.builds(
            lambda i, named, name, args: ToolCallDelta(i, f"c{i}" if named else None, name, args),
            st.integers(0, 3),
            st.booleans(),
            st.none() | some,
            text,
        ),
        max_size=2,
    ).map(tuple),
    finish_reason=st.none() | finish,
    logprobs=logprobs,
)


def asked_for(request, **more):
    return Asked(request.model, (request,), stream=request.stream, **more)


@quick
@given(chats)
def test_a_chat_request_survives_there_and_back(request):
    assert CHAT.read_request(CHAT.write_request(request)).generate == (request,)


@quick
@given(completions)
def test_a_completion_request_survives_there_and_back(request):
    assert PLAIN.read_request(PLAIN.write_request(request)).generate == (request,)


@quick
@given(st.lists(st.tuples(answers, finish, logprobs), min_size=1, max_size=3), usages)
def test_a_chat_reply_survives_there_and_back(found, usage):
    choices = tuple(Choice(i, m, f, lp) for i, (m, f, lp) in enumerate(found))
    reply = Reply(id="a", model="m", created=3, choices=choices, usage=usage)

    assert CHAT.read_reply(CHAT.write_reply(reply, Asked("m"))) == reply


@quick
@given(text, finish, usages)
def test_a_completion_reply_survives_there_and_back(content, reason, usage):
    request = GenerateRequest(model="m", prompt="p")
    lps = (TokenLogprob("a", -1.0, top=(("b", -2.0),)),)
    choice = Choice(0, Message("assistant", content), reason, lps)
    reply = Reply(id="a", model="m", created=3, choices=(choice,), usage=usage)

    assert PLAIN.read_reply(PLAIN.write_reply(reply, asked_for(request))) == reply


@quick
@given(st.lists(chunks, max_size=4), st.integers(1, 40))
def test_a_chat_stream_survives_there_and_back_at_any_split(stream, size):
    writer = CHAT.stream_writer(Asked("m", stream=True, include_usage=True))
    total = Usage(3, 4, 1, 2)
    sent = b"".join(writer.chunk(c) for c in stream)
    sent += writer.chunk(Chunk(id="i", model="m", created=1, usage=total)) + writer.end()

    reader, parser = CHAT.stream_reader(), sse.Parser()
    events = [e for i in range(0, len(sent), size) for e in parser.feed(sent[i : i + size])]
    found = [c for e in events for c in reader.feed(e)]

    visible = [
        c for c in stream if c.text or c.reasoning or c.tool_calls or c.finish_reason or c.logprobs
    ]
    assert [msgspec.structs.replace(c, role=None) for c in found[:-1]] == visible
    assert found[-1].usage == total
    assert reader.ended


def test_the_first_chunk_of_each_choice_tells_the_role():
    writer = CHAT.stream_writer(Asked("m", stream=True))
    bare = Chunk(id="i", model="m", created=1, text="x")

    sent = [
        writer.chunk(bare),
        writer.chunk(bare),
        writer.chunk(msgspec.structs.replace(bare, index=1)),
    ]

    assert [b'"role"' in s for s in sent] == [True, False, True]


@quick
@given(made.requests("openai"))
def test_chat_and_completions_drop_exactly_what_they_name(request):
    limited = msgspec.structs.replace(request.sampling, max_tokens=16)
    plain = msgspec.structs.replace(
        request, messages=None, prompt="x", sampling=limited, tool_choice=None
    )

    for dialect, asked in ((CHAT, request), (PLAIN, plain)):
        lost = [d.detail for d in dialect.drops(asked)]
        assert dialect.read_request(dialect.write_request(asked)).generate == (
            made.without(asked, lost),
        )
        assert all(made.without(asked, [one]) != asked for one in lost)


def test_reasoning_is_read_by_both_its_names():
    whole = b'{"id":"a","choices":[{"index":0,"message":{"content":"x","reasoning":"r"}}]}'
    piece = b'{"id":"a","choices":[{"index":0,"delta":{"reasoning":"r"}}]}'

    assert CHAT.read_reply(whole).choices[0].message.reasoning == "r"
    assert CHAT.stream_reader().feed(sse.Event(piece))[0].reasoning == "r"


def test_parallel_calls_that_all_bear_the_number_0_are_told_apart():
    def delta(**call):
        body = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0} | call]}}]}
        return sse.Event(json.dumps(body).encode())

    reader = CHAT.stream_reader()
    sent = [
        delta(id="a", function={"name": "f", "arguments": "{"}),
        delta(id="another", function={"arguments": "}"}),
        delta(id="b", function={"name": "g", "arguments": "{"}),
        delta(function={"arguments": "}"}),
    ]
    found = [call for event in sent for chunk in reader.feed(event) for call in chunk.tool_calls]

    assert [call.index for call in found] == [0, 0, 1, 1]


def test_usage_is_sent_only_when_asked_for():
    last = Chunk(id="i", model="m", created=1, finish_reason="stop", usage=Usage(1, 2))

    silent = CHAT.stream_writer(Asked("m", stream=True)).chunk(last)
    asked = CHAT.stream_writer(Asked("m", stream=True, include_usage=True)).chunk(last)

    assert b"usage" not in silent
    assert asked.count(b"data: ") == 2
    assert json.loads(asked.split(b"\n\n")[1][6:])["usage"]["total_tokens"] == 3


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"foo": 1}, "foo"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("nan")}, None),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"max_tokens": 2**64}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": []}, "max_tokens"),
        ({"n": 129}, "n"),
        ({"n": 0}, "n"),
        ({"top_p": 1.01}, "top_p"),
        ({"seed": 2**63}, "seed"),
        ({"stop": [""]}, "stop[...]"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"logit_bias": {"1": 101}}, "logit_bias[...]"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "zz": 1}]}, "messages[0].zz"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
            "messages[0].content[0].type",
        ),
        ({"tools": [{"type": "magic"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"tool_choice": {"type": []}, "tools": [TOOL]}, "tool_choice.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": []}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
            "response_format.json_schema.schema",
        ),
        ({"functions": []}, "functions"),
        ({"modalities": ["audio"]}, "modalities[0]"),
    ],
)
def test_a_wrong_chat_request_is_refused_by_its_field(change, param):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]} | change

    with pytest.raises(RequestRefused) as caught:
        CHAT.read_request(json.dumps(body).encode())

    found = caught.value.details.get("param")
    assert found == param or (param and "..." in param and found.startswith(param[:4])), found
    assert caught.value.http_status == 400


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [2**31]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": True}, "logprobs"),
        ({"prompt_embeds": "AAAA"}, "prompt_embeds"),
    ],
)
def test_a_wrong_completion_request_is_refused_by_its_field(change, param):
    with pytest.raises(RequestRefused) as caught:
        PLAIN.read_request(json.dumps({"model": "m", "prompt": "x"} | change).encode())

    assert caught.value.details["param"] == param


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 100_000, b'{"a":' * 9999]
)
def test_a_body_that_is_no_object_is_refused(body):
    for dialect in (CHAT, PLAIN, EMBED):
        with pytest.raises(RequestRefused):
            dialect.read_request(body)


@quick
@given(st.binary(max_size=60))
def test_no_bytes_get_past_the_checks_untyped(body):
    for dialect in (CHAT, PLAIN, EMBED):
        with pytest.raises(RequestRefused):
            dialect.read_request(body)


def test_several_prompts_are_several_requests():
    asked = PLAIN.read_request(b'{"model":"m","prompt":["a","b"],"n":2}')
    ids = PLAIN.read_request(b'{"model":"m","prompt":[[1,2],[3]]}')

    assert [r.prompt for r in asked.generate] == ["a", "b"]
    assert [r.prompt for r in ids.generate] == [(1, 2), (3,)]


def test_developer_is_system_and_max_completion_tokens_wins():
    body = b'{"model":"m","messages":[{"role":"developer","content":"x"}],"max_tokens":3,"max_completion_tokens":5}'
    request = CHAT.read_request(body).generate[0]

    assert request.messages[0].role == "system"
    assert request.sampling.max_tokens == 5


@quick
@given(
    st.lists(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=4), min_size=1, max_size=3)
)
def test_vectors_survive_as_numbers_and_as_base64(rows):
    reply = EmbedReply(model="m", vectors=tuple(map(tuple, rows)), usage=Usage(5))

    for encoding in ("float", "base64"):
        body = EMBED.write_vectors(reply, Asked("m", encoding=encoding))
        assert EMBED.read_vectors(body) == reply


def test_an_embedding_request_survives_there_and_back():
    for given_ in (("a",), ("a", "b"), ((1, 2),), ((1,), (2, 3))):
        request = EmbedRequest(model="m", input=given_, dimensions=3, user="u")

        assert EMBED.read_request(EMBED.write_request(request)).embed == request


def test_legacy_logprobs_have_text_offsets_and_keep_an_absent_number():
    request = GenerateRequest(model="m", prompt="abc")
    lps = (TokenLogprob("xy", float("nan")), TokenLogprob("z", -2.0, top=(("q", -1.0),)))
    choice = Choice(0, Message("assistant", "xyz"), "stop", lps)
    reply = Reply(id="a", model="m", created=3, choices=(choice,))

    body = PLAIN.write_reply(reply, asked_for(request))
    found = json.loads(body)["choices"][0]["logprobs"]
    back = PLAIN.read_reply(body).choices[0].logprobs

    assert found["text_offset"] == [3, 5]
    assert found["token_logprobs"] == [None, -2.0]
    assert math.isnan(back[0].logprob)
    assert back[1].logprob == -2.0


def test_the_chat_shape_of_logprobs_is_understood_on_the_plain_route():
    body = (
        b'{"choices":[{"text":"a","index":0,"finish_reason":"stop","logprobs":{"content":'
        b'[{"id":5,"token":"a","bytes":[97],"logprob":-1.5,"top_logprobs":[]}]}}]}'
    )

    assert PLAIN.read_reply(body).choices[0].logprobs == (TokenLogprob("a", -1.5, 5),)


@pytest.mark.parametrize(
    ("status", "kind", "code", "ours"),
    [
        (400, BackendError, "upstream-refused", 400),
        (401, BackendError, "upstream-auth", 502),
        (404, BackendError, "model-not-found", 404),
        (500, BackendError, "upstream-failed", 502),
        (503, BackendError, "upstream-overloaded", 503),
        (504, BackendError, "upstream-timeout", 504),
    ],
)
def test_error_answers_become_typed_errors_with_status_and_excerpt(status, kind, code, ours):
    error = CHAT.read_error(status, b'{"error":{"message":"why","param":"n"}}', None)

    assert (type(error), error.code) == (kind, code)
    assert error.details["status"] == ours
    assert error.details["upstream_status"] == status
    assert error.details["param"] == "n"
    assert "why" in error.message


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("99999", 3600.0),
        ("-1", None),
        ("Fri, 01 Jan", None),
        (None, None),
    ],
)
def test_rate_limits_carry_the_wait(header, wait):
    error = CHAT.read_error(429, b"slow", header)

    assert isinstance(error, RateLimited)
    assert error.details.get("retry_after_s") == wait


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{}", b'{"choices":[]}', b'{"error":{"message":"no"}}', b'{"error":"no"}', b"[[["],
)
def test_an_answer_that_is_none_is_an_error(body):
    for dialect in (CHAT, PLAIN):
        with pytest.raises(BackendError):
            dialect.read_reply(body)


def test_errors_are_written_in_the_vendors_shape():
    body = json.loads(CHAT.write_error(NotFound("model-not-found", "no", hint="h", param="model")))

    assert body == {
        "error": {
            "message": "no",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
            "hint": "h",
        }
    }
