"""The Anthropic dialects: what the protocol carries survives, the rest is named, wrong requests too."""

import contextlib
import json

import pytest
from anthropic.types import Message as Official
from anthropic.types import RawMessageStreamEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import TypeAdapter
from tests.fakes import messages as made

from stead.core.errors import BackendError, NotFound, RateLimited
from stead.messages import (
    Choice,
    Chunk,
    EmbedRequest,
    GenerateRequest,
    Message,
    Reply,
    Sampling,
    TextPart,
    Thought,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from stead.wire import anthropic_shape as shape
from stead.wire import sse
from stead.wire.dialect import DIALECTS, Asked, RequestRefused

WIRE = DIALECTS.create("anthropic")
COUNT = DIALECTS.create("anthropic_count")
EVENT = TypeAdapter(RawMessageStreamEvent)
BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
RICH = BODY | {
    "system": [{"type": "text", "text": "s"}],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "any"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "metadata": {"user_id": "u"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "x"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A"}},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c", "is_error": True,
             "content": [{"type": "text", "text": "y"}]},
        ]},
    ],
}  # fmt: skip
quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def there_and_back(request):
    return WIRE.read_request(WIRE.write_request(request)).generate[0]


@quick
@given(made.requests("anthropic"))
def test_a_request_survives_but_for_what_drops_names(request):
    found = there_and_back(request)

    lost = [d.detail for d in WIRE.drops(request) if d.kind == "param_dropped"]
    expected = made.without(request, lost)
    if request.sampling.max_tokens is None:
        expected = replace(expected, sampling=replace(expected.sampling, max_tokens=4096))
    assert found == expected
    assert all(made.without(request, [one]) != request for one in lost)
    assert WIRE.drops(found) == ()


@quick
@given(made.answers("anthropic"), st.sampled_from(["stop", "length", "tool_calls"]), made.usages)
def test_a_reply_survives_there_and_back_and_is_the_clients_type(message, finish, usage):
    reply = Reply(id="a", model="m", created=0, choices=(Choice(0, message, finish),), usage=usage)

    body = WIRE.write_reply(reply, Asked("m"))

    assert WIRE.read_reply(body) == reply
    assert Official.model_validate_json(body, strict=True).usage.output_tokens == (
        usage.completion_tokens
    )


@quick
@given(made.streams("anthropic"), st.integers(1, 60))
def test_a_stream_survives_there_and_back_at_any_split(stream, size):
    message, finish, usage, chunks = stream
    writer = WIRE.stream_writer(Asked("m", stream=True))
    sent = b"".join(writer.chunk(c) for c in chunks) + writer.end()

    reader, parser = WIRE.stream_reader(), sse.Parser()
    events = [e for i in range(0, len(sent), size) for e in parser.feed(sent[i : i + size])]
    found = [c for e in events for c in reader.feed(e)]

    assert made.collect(found) == (message, finish, usage)
    assert reader.ended
    assert [EVENT.validate_json(e.data, strict=True).type for e in events] == [
        e.name for e in events
    ]


def test_a_thought_of_another_vendor_comes_back_to_it_through_an_anthropic_client():
    sealed = (Thought("openai", "enc", "why", "rs_1"), Thought("google", "sig", withheld=True))
    message = Message("assistant", "x", reasoning="why", thoughts=sealed)
    reply = Reply(id="a", model="m", created=0, choices=(Choice(0, message, "stop"),))

    content = json.loads(WIRE.write_reply(reply, Asked("m")))["content"]
    body = BODY | {"messages": [{"role": "assistant", "content": content}]}
    found = WIRE.read_request(json.dumps(body).encode()).generate[0]

    assert found.messages == (message,)
    assert [d.detail.split(" ")[0] for d in WIRE.drops(found)] == ["messages.thoughts"] * 2


def test_redacted_thinking_survives_in_a_stream():
    thought = Thought("anthropic", "data", withheld=True)
    writer = WIRE.stream_writer(Asked("m", stream=True))
    sent = writer.chunk(Chunk(id="i", model="m", created=0, thought=thought)) + writer.end()

    reader = WIRE.stream_reader()
    found = [c.thought for e in sse.Parser().feed(sent) for c in reader.feed(e) if c.thought]

    assert found == [thought]


def test_the_results_of_parallel_calls_are_one_turn():
    calls = (ToolCall("a", "f", "{}"), ToolCall("b", "f", ""))
    messages = (
        Message("user", "x"),
        Message("assistant", None, tool_calls=calls),
        Message("tool", "1", tool_call_id="a"),
        Message("tool", "2", tool_call_id="b"),
        Message("user", "y"),
    )
    body = json.loads(WIRE.write_request(GenerateRequest(model="m", messages=messages)))

    assert [t["role"] for t in body["messages"]] == ["user", "assistant", "user", "user"]
    assert [r["tool_use_id"] for r in body["messages"][2]["content"]] == ["a", "b"]


def test_what_is_only_nearly_carried_is_said():
    odd = Message("assistant", None, tool_calls=(ToolCall("a", "f", "[1]"),))
    late = Message("system", "z")
    sampling = Sampling(temperature=1.5, stop=("\n", "END"))
    request = GenerateRequest(
        model="m", messages=(Message("user", "x"), odd, late), sampling=sampling
    )

    body = json.loads(WIRE.write_request(request))
    said = [d.detail.split(" ")[0] for d in WIRE.drops(request) if d.kind == "param_translated"]

    assert said == ["max_tokens", "temperature", "system", "arguments"]
    assert (body["system"], body["temperature"], body["stop_sequences"]) == ("z", 1.0, ["END"])
    assert body["messages"][1]["content"][0]["input"] == {"unparsed": "[1]"}


def test_marks_of_the_prompt_cache_are_kept_at_the_end_and_said():
    mark = {"type": "ephemeral"}
    body = BODY | {"system": [{"type": "text", "text": "s", "cache_control": mark}]}

    asked = WIRE.read_request(json.dumps(body).encode())

    assert [d.kind for d in asked.deviations] == ["param_translated"]
    assert json.loads(WIRE.write_request(asked.generate[0]))["cache_control"] == mark


def test_parallel_calls_can_be_forbidden_on_both_sides():
    choice = {"type": "any", "disable_parallel_tool_use": True}

    request = WIRE.read_request(json.dumps(RICH | {"tool_choice": choice}).encode()).generate[0]

    assert (request.tool_choice, request.extra["parallel_tool_calls"]) == ("required", False)
    assert json.loads(WIRE.write_request(request))["tool_choice"] == choice


def test_counting_reads_the_same_request_without_its_limits():
    body = {k: v for k, v in RICH.items() if k not in {"max_tokens", "metadata"}}

    counted = COUNT.read_request(json.dumps(body).encode()).generate[0]
    asked = WIRE.read_request(json.dumps(RICH).encode()).generate[0]

    assert counted.messages == asked.messages
    assert COUNT.read_count(COUNT.write_count(7)) == 7
    assert b"max_tokens" not in COUNT.write_request(counted)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"foo": 1}, "foo"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.1}, "temperature"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]},
         "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [
            {"type": "tool_use", "id": "a", "name": "f", "input": {}}]}]},
         "messages[0].content[0].type"),
        ({"messages": [{"role": "assistant", "content": [
            {"type": "tool_use", "id": "a", "name": "f", "input": [1]}]}]},
         "messages[0].content[0].input"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_by_its_field(change, param):
    with pytest.raises(RequestRefused) as caught:
        WIRE.read_request(json.dumps(BODY | change).encode())

    assert caught.value.details["param"].replace("[...]", "[0]") == param


@quick
@given(st.binary(max_size=40), made.spoilt(RICH))
def test_no_body_gets_past_the_checks_untyped(raw, body):
    for dialect in (WIRE, COUNT):
        with pytest.raises(RequestRefused):
            dialect.read_request(raw)
    with contextlib.suppress(RequestRefused):
        request = WIRE.read_request(json.dumps(body).encode()).generate[0]
        found = WIRE.read_request(WIRE.write_request(request)).generate[0]
        assert found == made.without(request, [d.detail for d in WIRE.drops(request)])


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("overloaded_error", "upstream-overloaded", 503),
        ("rate_limit_error", "rate-limited", 429),
        ("api_error", "upstream-failed", 502),
        ("timeout_error", "upstream-timeout", 504),
    ],
)
def test_an_error_event_is_a_typed_error(kind, code, status):
    body = {"type": "error", "error": {"type": kind, "message": "why"}}
    event = sse.Event(json.dumps(body).encode(), "error")

    with pytest.raises(BackendError, match="why") as caught:
        WIRE.stream_reader().feed(event)

    assert caught.value.code == code
    assert caught.value.details.get("status", caught.value.http_status) == status


def test_error_answers_in_both_directions():
    error = NotFound("model-not-found", "no", hint="h", param="model")
    written = json.loads(WIRE.write_error(error))
    streamed = WIRE.stream_writer(Asked("m", stream=True)).error(error)
    busy = WIRE.read_error(529, b'{"type":"error","error":{"message":"why"}}', "3")
    limited = WIRE.read_error(429, b'{"type":"error","error":{"message":"why"}}', "3")

    assert written["error"]["type"] == "not_found_error"
    assert (written["error"]["param"], written["error"]["hint"]) == ("model", "h")
    assert json.loads(sse.Parser().feed(streamed)[0].data) == written
    assert (busy.code, busy.details["retry_after_s"]) == ("upstream-overloaded", 3.0)
    assert isinstance(limited, RateLimited)


def test_usage_counts_the_cache_as_part_of_the_prompt():
    body = {
        "id": "a", "model": "m", "stop_reason": "stop_sequence", "stop_sequence": "END",
        "content": [{"type": "text", "text": "x", "later": 1}, {"type": "server_tool_use"}],
        "usage": {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 3,
                  "cache_creation_input_tokens": 2,
                  "output_tokens_details": {"thinking_tokens": 4}},
    }  # fmt: skip

    reply = WIRE.read_reply(json.dumps(body).encode())

    assert reply.usage == Usage(10, 7, 3, 4, 2)
    kept = shape.read_usage(shape.write_usage(Usage(10, 7, 3, 4, 2, 1)))
    assert kept == Usage(10, 7, 3, 4, 2, 1)
    assert reply.choices[0].stop_text == "END"
    assert [d.kind for d in reply.deviations] == ["block_dropped"]


def feed(*events_):
    reader = WIRE.stream_reader()
    return [c for e in events_ for c in reader.feed(sse.Event(json.dumps(e).encode()))]


def test_a_call_that_comes_whole_and_blocks_that_are_not_known():
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}
    found = feed(
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": use},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "server_tool_use"}},
        {"type": "content_block_delta", "index": 1, "delta": {"partial_json": "{}"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_stop", "index": 9},
        {"type": "message_delta", "delta": {}},
    )

    assert made.collect(found)[0].tool_calls == (ToolCall("c", "f", '{"a": 1}'),)
    assert [d.kind for c in found for d in c.deviations] == ["block_dropped"]
    with pytest.raises(BackendError, match="not begun"):
        feed({"type": "content_block_delta", "index": 1, "delta": {"text": "x"}})


def test_a_thought_that_was_not_streamed_is_said_before_its_seal():
    head = {"id": "i", "model": "m", "created": 0}
    writer = WIRE.stream_writer(Asked("m", stream=True))
    chunks = [
        Chunk(**head, thought=Thought("anthropic", "s", "why")),
        Chunk(**head, logprobs=(TokenLogprob("x", -1.0),)),
        Chunk(**head, tool_calls=(ToolCallDelta(0, None, "f"),)),
    ]
    sent = b"".join(writer.chunk(c) for c in chunks) + writer.end()

    reader = WIRE.stream_reader()
    message, _, _ = made.collect([c for e in sse.Parser().feed(sent) for c in reader.feed(e)])

    assert (message.reasoning, message.thoughts[0].seal) == ("why", "s")
    assert message.tool_calls == (ToolCall("call_0", "f", "{}"),)
    nameless = Chunk(**head, tool_calls=(ToolCallDelta(1, "b"),))
    with pytest.raises(BackendError, match="no name"):
        writer.chunk(nameless)


def test_text_beside_results_is_a_message_of_its_own():
    result = {"type": "tool_result", "tool_use_id": "c"}
    words = {"type": "text", "text": "x"}
    body = BODY | {"messages": [{"role": "user", "content": [words, result, words]}]}

    found = WIRE.read_request(json.dumps(body).encode()).generate[0].messages

    assert [(m.role, m.text) for m in found] == [("user", "x"), ("tool", ""), ("user", "x")]


def test_several_system_messages_are_its_blocks():
    system = (Message("system", "a"), Message("system", (TextPart("b"), TextPart("c"))))
    request = GenerateRequest(model="m", messages=(*system, Message("user", "x")))

    body = json.loads(WIRE.write_request(request))

    assert [b["text"] for b in body["system"]] == ["a", "b", "c"]
    assert {d.kind for d in WIRE.drops(request)} == {"param_translated"}


def test_what_it_cannot_say_is_refused_or_named():
    request = GenerateRequest(
        model="m",
        messages=(Message("user", "x"),),
        sampling=Sampling(max_tokens=1),
        response_format={"type": "json_object"},
        tool_choice={"type": "allowed_tools"},
        extra={"reasoning_effort": "minimal", "service_tier": "auto"},
    )

    assert [d.detail.split(" ")[0] for d in WIRE.drops(request)] == [
        "tool_choice", "response_format", "reasoning_effort",
    ]  # fmt: skip
    assert there_and_back(request).extra == {"service_tier": "auto"}
    assert WIRE.drops(EmbedRequest(model="m", input=("x",))) == ()
    for wrong in (GenerateRequest(model="m", prompt="x"), EmbedRequest(model="m", input=("x",))):
        with pytest.raises(BackendError, match="messages only"):
            WIRE.write_request(wrong)


@pytest.mark.parametrize(
    ("body", "words"), [(b'{"input_tokens":-1}', "counted -1"), (b"{}", "input_tokens")]
)
def test_a_count_that_is_none_is_an_error(body, words):
    with pytest.raises(BackendError, match=words):
        COUNT.read_count(body)


def test_a_seal_that_only_looks_wrapped_is_kept_as_it_is():
    content = [{"type": "thinking", "thinking": "t", "signature": "stead.seal.!"}]
    body = BODY | {"messages": [{"role": "assistant", "content": content}]}

    found = WIRE.read_request(json.dumps(body).encode()).generate[0].messages[0].thoughts

    assert found == (Thought("anthropic", "stead.seal.!", "t"),)


FULL = Message(
    "assistant",
    "x",
    tool_calls=(ToolCall("c", "f", "{}"),),
    thoughts=(Thought("anthropic", "e", "t"), Thought("anthropic", "d", withheld=True)),
)
WHOLE = Reply(id="a", model="m", created=0, choices=(Choice(0, FULL, "stop"),))


def events():
    head = {"id": "i", "model": "m", "created": 0}
    writer = WIRE.stream_writer(Asked("m", stream=True))
    chunks = [
        Chunk(**head, reasoning="t"),
        Chunk(**head, thought=FULL.thoughts[0]),
        Chunk(**head, text="x"),
        Chunk(**head, tool_calls=(ToolCallDelta(0, "c", "f", "{}"),)),
        Chunk(**head, finish_reason="tool_calls", usage=Usage(1, 2)),
    ]
    sent = b"".join(writer.chunk(c) for c in chunks) + writer.end()
    return [json.loads(e.data) for e in sse.Parser().feed(sent)]


@quick
@given(
    made.spoilt(json.loads(WIRE.write_reply(WHOLE, Asked("m")))),
    st.sampled_from(events()).flatmap(made.spoilt),
)
def test_no_answer_gets_past_the_checks_untyped(body, event):
    with contextlib.suppress(BackendError):
        WIRE.read_reply(json.dumps(body).encode())
    with contextlib.suppress(BackendError):
        WIRE.stream_reader().feed(sse.Event(json.dumps(event).encode()))


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"content":[{"type":"tool_use","input":3}]}'])
def test_an_answer_that_is_none_is_an_error(body):
    with pytest.raises(BackendError):
        WIRE.read_reply(body)


def test_a_call_that_goes_on_after_another_has_begun_is_refused():
    writer = WIRE.stream_writer(Asked("m", stream=True))
    first, second = ToolCallDelta(0, "a", "f", "{"), ToolCallDelta(1, "b", "f", "{")
    writer.chunk(Chunk(id="i", model="m", created=0, tool_calls=(first, second)))

    late = Chunk(id="i", model="m", created=0, tool_calls=(ToolCallDelta(0, arguments="}"),))
    with pytest.raises(BackendError, match="went on"):
        writer.chunk(late)
