"""Ollama's dialects: what they carry comes back, what they drop is named, wrong requests are refused."""

import json
import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes import wire as fakes

from stead.core.errors import BackendError, NotFound
from stead.messages import (
    Choice,
    Chunk,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    Message,
    Reply,
    Sampling,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from stead.wire.dialect import DIALECTS, Asked, RequestRefused
from stead.wire.ndjson import Parser
from stead.wire.sse import Event

CHAT, PLAIN, EMBED, OLD = (
    DIALECTS.create(f"ollama_{name}") for name in ("chat", "generate", "embed", "embeddings")
)
ALL = (CHAT, PLAIN, EMBED, OLD)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
extras = st.sampled_from(
    [{}, {"keep_alive": "5m", "num_ctx": 4096}, {"think": True}, {"reasoning_effort": "low"},
     {"metadata": {"a": "b"}, "store": True}]
)  # fmt: skip
plain = st.builds(
    GenerateRequest,
    model=fakes.word,
    prompt=fakes.some,
    sampling=fakes.samplings,
    stream=st.booleans(),
    user=st.none() | fakes.some,
    echo=st.booleans(),
    extra=extras,
)
finish = st.sampled_from(["stop", "length"])


@quick
@given(fakes.requests(fakes.conversations(), extras))
def test_a_chat_comes_back_without_exactly_what_is_named_as_dropped(request):
    names = fakes.dropped_names(CHAT, request)

    assert CHAT.read_request(CHAT.write_request(request)).generate == (
        fakes.without(request, names),
    )


@quick
@given(plain)
def test_a_completion_comes_back_without_exactly_what_is_named_as_dropped(request):
    names = fakes.dropped_names(PLAIN, request)

    assert PLAIN.read_request(PLAIN.write_request(request)).generate == (
        fakes.without(request, names),
    )


def test_every_name_that_can_be_dropped_is_named_once_with_its_reason():
    everything = GenerateRequest(
        model="m",
        messages=(Message("user", "x", "ann"),),
        sampling=Sampling(n=2, logit_bias={"1": 1.0}),
        tools=({"type": "function", "function": {"name": "f", "strict": True}},),
        tool_choice="required",
        user="u",
        extra={"store": True, "reasoning_effort": "minimal"},
    )

    found = [(d.kind, d.detail.partition(" ")[0]) for d in CHAT.drops(everything)]

    assert found == [
        ("param_dropped", "n"),
        ("param_dropped", "logit_bias"),
        ("param_dropped", "tool_choice"),
        ("param_dropped", "user"),
        ("param_dropped", "tools.strict"),
        ("param_dropped", "store"),
        ("param_dropped", "messages.name"),
        ("param_translated", "reasoning_effort"),
    ]
    assert not CHAT.drops(GenerateRequest(model="m", messages=(Message("user", "x"),)))


def test_no_tool_shall_be_called_is_told_by_sending_none():
    request = GenerateRequest(
        model="m", messages=(Message("user", "x"),), tools=(fakes.TOOL,), tool_choice="none"
    )

    assert "tools" not in json.loads(CHAT.write_request(request))
    assert not CHAT.drops(request)


@quick
@given(
    fakes.text,
    st.lists(fakes.calls, max_size=2, unique_by=lambda c: c.id).map(tuple),
    st.none() | fakes.some,
    finish,
    fakes.usages,
    fakes.logprobs,
)
def test_a_reply_survives_there_and_back(text, calls, thought, reason, usage, lps):
    message = Message("assistant", text, tool_calls=calls, reasoning=thought)
    reason = "tool_calls" if calls and reason == "stop" else reason
    reply = Reply(
        id="", model="m", created=3, choices=(Choice(0, message, reason, lps),), usage=usage
    )

    found = CHAT.read_reply(CHAT.write_reply(reply, Asked("m")))

    assert msgspec.structs.replace(found, id="") == reply


@quick
@given(fakes.text, st.none() | fakes.some, finish, fakes.usages, fakes.logprobs)
def test_a_completion_survives_there_and_back(text, thought, reason, usage, lps):
    message = Message("assistant", text, reasoning=thought)
    reply = Reply(
        id="", model="m", created=3, choices=(Choice(0, message, reason, lps),), usage=usage
    )

    found = PLAIN.read_reply(PLAIN.write_reply(reply, Asked("m")))

    assert msgspec.structs.replace(found, id="") == reply


def through(dialect, chunks, size):
    writer = dialect.stream_writer(Asked("m", stream=True))
    sent = b"".join(writer.chunk(c) for c in chunks) + writer.end()
    reader, parser = dialect.stream_reader(), Parser()
    events = [e for i in range(0, len(sent), size) for e in parser.feed(sent[i : i + size])]
    return [c for e in events for c in reader.feed(e)], reader


@quick
@given(
    st.lists(st.tuples(fakes.text, fakes.text), max_size=4),
    finish,
    fakes.usages,
    st.integers(1, 40),
)
def test_a_stream_survives_there_and_back_at_any_split(pieces, reason, usage, size):
    head = {"id": "i", "model": "m", "created": 1}
    chunks = [Chunk(**head, text=t, reasoning=r) for t, r in pieces]
    chunks += [Chunk(**head, finish_reason=reason), Chunk(**head, usage=usage)]

    for dialect in (CHAT, PLAIN):
        found, reader = through(dialect, chunks, size)

        assert [(c.text, c.reasoning) for c in found[:-1]] == [p for p in pieces if any(p)]
        assert (found[-1].finish_reason, found[-1].usage) == (reason, usage)
        assert reader.ended


def test_pieces_of_calls_are_sent_whole_and_in_order():
    head = {"id": "i", "model": "m", "created": 1}
    deltas = [
        ToolCallDelta(1, "b", "g", "{"),
        ToolCallDelta(0, "a", "f", '{"x": '),
        ToolCallDelta(0, None, None, "1}"),
        ToolCallDelta(1, None, None, '"y":\n2}'),
    ]
    chunks = [Chunk(**head, tool_calls=(d,)) for d in deltas]

    found, _ = through(CHAT, [*chunks, Chunk(**head, finish_reason="tool_calls")], 7)

    calls = [c for chunk in found for c in chunk.tool_calls]
    assert calls == [ToolCallDelta(0, "a", "f", '{"x": 1}'), ToolCallDelta(1, "b", "g", '{"y":2}')]
    assert found[-1].finish_reason == "tool_calls"


def test_calls_without_ids_get_stable_ones_and_their_answers_find_them():
    line = {"model": "m", "created_at": "2024-01-01T00:00:00Z", "done": True, "message": {
        "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}] * 2}}  # fmt: skip
    first, again = (CHAT.read_reply(json.dumps(line).encode()).choices[0] for _ in range(2))
    body = {"model": "m", "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [
            {"function": {"name": "f", "arguments": {}}}, {"function": {"name": "g", "arguments": {}}}]},
        {"role": "tool", "tool_name": "g", "content": "2"},
        {"role": "tool", "tool_name": "f", "content": "1"},
    ]}  # fmt: skip

    messages = CHAT.read_request(json.dumps(body).encode()).generate[0].messages

    ids = [c.id for c in first.message.tool_calls]
    assert first == again
    assert len(set(ids)) == 2
    assert [m.tool_call_id for m in messages[2:]] == [c.id for c in messages[1].tool_calls][::-1]


def test_requests_stream_unless_told_otherwise_and_a_prompt_is_a_turn_unless_raw():
    asked = PLAIN.read_request(b'{"model":"m","prompt":"p","system":"s"}')
    raw = PLAIN.read_request(b'{"model":"m","prompt":"p","raw":true,"stream":false}')

    assert (asked.stream, raw.stream) == (True, False)
    assert asked.generate[0].messages == (Message("system", "s"), Message("user", "p"))
    assert (raw.generate[0].prompt, raw.generate[0].messages) == ("p", None)
    assert CHAT.read_request(b'{"model":"m","messages":[{"role":"user","content":"x"}]}').stream


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"foo": 1}, "foo"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"warmth": 1}}, "options.warmth"),
        ({"options": {"num_predict": 0}}, "options.num_predict"),
        ({"format": "xml"}, "format"),
        ({"think": "hard"}, "think"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"messages": "x"}, "messages"),
        ({"messages": [{"role": "king"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_name"),
        ({"messages": [{"role": "user", "images": ["!"]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "user", "images": ["aGVsbG8="]}]}, "messages[0].images[0]"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name"),
    ],
)
def test_a_wrong_chat_is_refused_by_its_field(change, param):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]} | change

    with pytest.raises(RequestRefused) as caught:
        CHAT.read_request(json.dumps(body).encode())

    assert caught.value.details["param"] == param


@pytest.mark.parametrize("field", ["template", "context", "suffix", "system"])
def test_what_would_need_ollamas_own_state_is_refused(field):
    bad = {"template": "t", "context": [1], "suffix": "s", "system": "s"}
    body = {"model": "m", "prompt": "p", "raw": True} | {field: bad[field]}

    with pytest.raises(RequestRefused) as caught:
        PLAIN.read_request(json.dumps(body).encode())

    assert caught.value.details["param"] == field


@quick
@given(st.binary(max_size=60) | st.sampled_from([b"[" * 100_000, b"null", b"[1]", b"\xff"]))
def test_no_bytes_get_past_the_checks_untyped(body):
    for dialect in ALL:
        with pytest.raises(RequestRefused):
            dialect.read_request(body)
        read = dialect.read_vectors if dialect in (EMBED, OLD) else dialect.read_reply
        with pytest.raises(BackendError):
            read(body)


def json_values():
    leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | fakes.text
    return st.recursive(leaves, lambda x: st.lists(x, max_size=2), max_leaves=3)


@quick
@given(
    st.dictionaries(
        st.sampled_from(
            ["model", "messages", "message", "prompt", "stream", "done", "options", "tools", "input",
             "response", "created_at", "done_reason", "eval_count", "embeddings", "think", "format"]
        ),
        json_values()
        | st.lists(st.dictionaries(st.sampled_from(["role", "content", "images", "tool_calls"]), json_values()), max_size=2),
    )
)  # fmt: skip
def test_wrong_fields_give_typed_errors_only(body):
    data = msgspec.json.encode(body)
    for dialect in ALL:
        read = dialect.read_vectors if dialect in (EMBED, OLD) else dialect.read_reply
        calls = [(dialect.read_request, RequestRefused), (read, BackendError)]
        if dialect in (CHAT, PLAIN):
            calls.append((lambda x, d=dialect: d.stream_reader().feed(Event(x)), BackendError))
        for call, kind in calls:
            try:
                call(data)
            except kind:
                continue


def test_vectors_survive_and_so_do_their_requests():
    reply = EmbedReply(model="m", vectors=((1.0, 2.0), (3.0, 4.0)), usage=Usage(5))
    request = EmbedRequest(model="m", input=("a", "b"), dimensions=3, user="u")
    found = EMBED.read_request(EMBED.write_request(request)).embed

    assert EMBED.read_vectors(EMBED.write_vectors(reply, Asked("m"))) == reply
    assert found == EmbedRequest(model="m", input=("a", "b"), dimensions=3)
    assert fakes.dropped_names(EMBED, request) == {"user"}
    assert OLD.read_vectors(b'{"embedding":[1.0]}').vectors == ((1.0,),)
    with pytest.raises(BackendError, match="texts only"):
        EMBED.write_request(EmbedRequest(model="m", input=((1, 2),)))


def test_fields_without_effect_on_vectors_are_told():
    body = b'{"model":"m","input":"a","truncate":false,"keep_alive":"5m","options":{"num_ctx":8}}'
    quiet = b'{"model":"m","input":"a","truncate":true}'

    told = [d.detail.partition(" ")[0] for d in EMBED.read_request(body).deviations]

    assert told == ["truncate", "keep_alive", "options"]
    assert EMBED.read_request(quiet).deviations == ()


def test_odd_numbers_do_no_harm():
    lps = (TokenLogprob("a", float("nan")),)
    choice = Choice(0, Message("assistant", "x"), "stop", lps)
    reply = Reply(id="", model="m", created=1_700_000_000_000, choices=(choice,))  # milliseconds

    found = CHAT.read_reply(CHAT.write_reply(reply, Asked("m")))

    assert math.isnan(found.choices[0].logprobs[0].logprob)
    assert found.created == 0


def test_arguments_that_are_no_object_and_images_that_are_no_bytes_are_told():
    call = Message("assistant", "", tool_calls=(ToolCall("a", "f", "[1]"),))
    image = Message("user", (fakes.ImagePart("https://example.org/a.png"),))

    for message, code in ((call, "bad-arguments"), (image, "bad-image")):
        with pytest.raises(BackendError) as caught:
            CHAT.write_request(GenerateRequest(model="m", messages=(message,)))
        assert caught.value.code == code


def test_errors_are_one_text_both_ways():
    assert json.loads(CHAT.write_error(NotFound("model-not-found", "no"))) == {"error": "no"}
    assert CHAT.read_error(404, b'{"error":"no model"}', None).code == "model-not-found"
    with pytest.raises(BackendError, match="broke"):
        CHAT.stream_reader().feed(Parser().feed(b'{"error":"it broke"}\n')[0])
