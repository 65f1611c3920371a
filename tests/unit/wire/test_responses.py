"""The Responses dialect: what the protocol carries survives, the rest is named, events are in order."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from tests.fakes import messages as made

from stead.core.errors import BackendError, RateLimited
from stead.messages import (
    Choice,
    Chunk,
    EmbedRequest,
    GenerateRequest,
    Message,
    Reply,
    Thought,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from stead.wire import sse
from stead.wire.dialect import DIALECTS, Asked, RequestRefused

WIRE = DIALECTS.create("openai_responses")
EVENT = TypeAdapter(ResponseStreamEvent)
ASKED = Asked("m", (GenerateRequest(model="m", messages=(Message("user", "x"),)),))
BODY = {"model": "m", "input": "x"}
RICH = {
    "model": "m",
    "instructions": "i",
    "input": [
        {"role": "user", "content": [
            {"type": "input_text", "text": "x"},
            {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        ]},
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "e",
         "summary": [{"type": "summary_text", "text": "t"}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "output_text", "text": "y", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "z"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}}},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
}  # fmt: skip
quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
head = {"id": "i", "model": "m", "created": 7}


def write(chunks, asked=ASKED):
    writer = WIRE.stream_writer(asked)
    return b"".join(writer.chunk(c) for c in chunks) + writer.end()


def events(sent):
    return [json.loads(e.data) for e in sse.Parser().feed(sent)]


@quick
@given(made.requests("openai"))
def test_a_request_survives_but_for_what_drops_names(request):
    found = WIRE.read_request(WIRE.write_request(request)).generate[0]

    lost = [d.detail for d in WIRE.drops(request)]
    assert found == made.without(request, lost)
    assert all(made.without(request, [one]) != request for one in lost)
    assert WIRE.drops(found) == ()


@quick
@given(made.answers("openai"), st.sampled_from(["stop", "length", "content_filter"]), made.usages)
def test_a_reply_survives_there_and_back_and_is_the_clients_type(message, finish, usage):
    finish = "tool_calls" if message.tool_calls and finish == "stop" else finish
    scored = (TokenLogprob("a", -1.0, None, (("b", -2.0),)),) if message.text else ()
    choice = Choice(0, message, finish, scored)
    reply = Reply(id="a", model="m", created=3, choices=(choice,), usage=usage)

    body = WIRE.write_reply(reply, ASKED)

    assert WIRE.read_reply(body) == reply
    assert Response.model_validate_json(body, strict=True).output_text == message.text


@quick
@given(made.streams("openai"), st.integers(1, 90))
def test_a_stream_survives_there_and_back_at_any_split(stream, size):
    message, finish, usage, chunks = stream
    sent = write(chunks)

    reader, parser = WIRE.stream_reader(), sse.Parser()
    found = [e for i in range(0, len(sent), size) for e in parser.feed(sent[i : i + size])]
    read = [c for e in found for c in reader.feed(e)]
    typed = [EVENT.validate_json(e.data, strict=True) for e in found]

    assert made.collect(read) == (message, finish, usage)
    assert reader.ended
    assert [t.type for t in typed] == [e.name for e in found]
    assert [t.sequence_number for t in typed] == list(range(len(typed)))


def test_the_events_of_text_and_a_call_are_in_the_vendors_order():
    chunks = [
        Chunk(**head, text="a"),
        Chunk(**head, tool_calls=(ToolCallDelta(0, "c", "f", "{"),)),
        Chunk(**head, tool_calls=(ToolCallDelta(0, arguments="}"),)),
        Chunk(**head, finish_reason="tool_calls", usage=Usage(1, 2)),
    ]

    found = events(write(chunks))

    assert [e["type"].removeprefix("response.") for e in found] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "output_item.added",
        "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [i["type"] for i in found[-1]["response"]["output"]] == ["message", "function_call"]
    assert found[-3]["arguments"] == "{}"
    assert found[-1]["response"]["usage"]["total_tokens"] == 3


def test_a_cut_answer_is_incomplete_and_a_failed_one_failed():
    text = Chunk(**head, text="a")
    cut = events(write([text, Chunk(**head, finish_reason="length")]))[-1]
    writer = WIRE.stream_writer(ASKED)
    writer.chunk(text)
    failed = events(writer.error(RateLimited("rate-limited", "later")))
    early = events(WIRE.stream_writer(ASKED).error(BackendError("upstream-failed", "no")))

    assert (cut["type"], cut["response"]["incomplete_details"]) == (
        "response.incomplete", {"reason": "max_output_tokens"},
    )  # fmt: skip
    assert cut["response"]["output"][0]["status"] == "incomplete"
    assert [e["type"] for e in failed] == ["response.failed"]
    assert failed[0]["response"]["error"] == {"code": "rate_limit_exceeded", "message": "later"}
    assert [e["type"] for e in early] == ["error"]
    for event in (cut, *failed, *early):
        EVENT.validate_python(event, strict=True)
        if event["type"] != "response.incomplete":
            data = sse.Event(json.dumps(event).encode(), event["type"])
            with pytest.raises(BackendError):
                WIRE.stream_reader().feed(data)


def feed(*events_):
    reader = WIRE.stream_reader()
    sent = [sse.Event(json.dumps(e).encode()) for e in events_]
    return [c for e in (*sent, sse.Event(b"[DONE]")) for c in reader.feed(e)]


def test_a_call_that_comes_whole_and_items_that_are_not_known():
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    added = {"type": "response.output_item.added", "output_index": 1}
    done = {"type": "response.output_item.done", "output_index": 1}
    other = {"type": "response.output_item.done", "item": {"type": "web_search_call"}}
    unknown = {"type": "response.later.delta", "delta": "x"}
    end = {"type": "response.completed"}

    for begun in (call, call | {"arguments": ""}):
        found = feed(added | {"item": begun}, done | {"item": call}, other, unknown, end)
        assert made.collect(found)[0].tool_calls == (ToolCall("c", "f", "{}"),)
        assert [c.finish_reason for c in found if c.finish_reason] == ["tool_calls"]
        assert [d.kind for c in found for d in c.deviations] == ["block_dropped"]
    with pytest.raises(BackendError, match="not begun"):
        feed({"type": "response.function_call_arguments.delta", "delta": "x"})


def test_usage_that_cannot_be_true_is_none_and_refusals_are_text():
    usage = {"input_tokens": -1, "output_tokens": 1, "total_tokens": 0}
    said = {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}
    other = {"type": "web_search_call"}
    body = {"status": "completed", "usage": usage, "output": [said, other]}

    reply = WIRE.read_reply(json.dumps(body).encode())

    assert (reply.usage, reply.text) == (Usage(), "no")
    assert [d.kind for d in reply.deviations] == ["block_dropped"]


def test_an_answer_that_ended_in_an_error_is_failed():
    broken = Choice(0, Message("assistant", "x"), "error")
    body = WIRE.write_reply(Reply(id="a", model="m", created=0, choices=(broken,)), ASKED)
    empty = events(WIRE.stream_writer(ASKED).end())

    assert Response.model_validate_json(body, strict=True).status == "failed"
    assert [e["type"] for e in empty] == ["response.completed"]
    with pytest.raises(BackendError, match="server_error"):
        WIRE.read_reply(body)


def test_messages_stand_apart_where_the_items_do():
    said = {"role": "assistant", "content": "a"}
    thought = {"type": "reasoning", "summary": [], "content": [{"text": "t"}]}

    body = BODY | {"input": [said, said, thought]}
    found = WIRE.read_request(json.dumps(body).encode()).generate[0]

    assert [(m.text, m.reasoning) for m in found.messages] == [("a", None), ("a", None), ("", "t")]


def test_what_it_cannot_say_is_refused_or_named():
    allowed = GenerateRequest(
        model="m", messages=(Message("user", "x"),), tool_choice={"type": "allowed_tools"}
    )
    form = BODY | {"text": {"format": {"type": "json_object"}}}

    assert [d.detail.split(" ")[0] for d in WIRE.drops(allowed)] == ["tool_choice"]
    assert b"tool_choice" not in WIRE.write_request(allowed)
    assert WIRE.drops(EmbedRequest(model="m", input=("x",))) == ()
    assert WIRE.read_request(json.dumps(form).encode()).generate[0].response_format == {
        "type": "json_object"
    }
    for wrong in (GenerateRequest(model="m", prompt="x"), EmbedRequest(model="m", input=("x",))):
        with pytest.raises(BackendError, match="messages only"):
            WIRE.write_request(wrong)


def test_a_thought_of_another_vendor_comes_back_to_it_through_a_responses_client():
    thought = Thought("anthropic", "sig", "why")
    message = Message("assistant", "x", reasoning="why", thoughts=(thought,))
    reply = Reply(id="a", model="m", created=0, choices=(Choice(0, message, "stop"),))

    output = json.loads(WIRE.write_reply(reply, ASKED))["output"]
    found = WIRE.read_request(json.dumps(BODY | {"input": output}).encode()).generate[0]

    assert found.messages == (message,)


def test_a_rich_request_is_understood():
    asked = WIRE.read_request(json.dumps(RICH).encode())
    request = asked.generate[0]

    assert [m.role for m in request.messages] == ["system", "user", "assistant", "tool"]
    assert request.messages[2].thoughts == (Thought("openai", "e", "t", "rs_1"),)
    assert request.messages[2].tool_calls[0].id == "c"
    assert request.sampling.logprobs == 0
    assert request.response_format["json_schema"] == {"name": "n", "schema": {}}
    assert request.extra["reasoning_effort"] == "low"
    assert asked.deviations == ()


def test_keeping_the_answer_is_a_deviation():
    asked = WIRE.read_request(json.dumps(BODY | {"store": True}).encode())

    assert [d.kind for d in asked.deviations] == ["param_dropped"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"foo": 1}, "foo"),
        ({"seed": 1}, "seed"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "a"}]}, "input[0].type"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
         "input[0].content[0].file_id"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"temperature": 3}, "temperature"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_by_its_field(change, param):
    with pytest.raises(RequestRefused) as caught:
        WIRE.read_request(json.dumps(BODY | change).encode())

    assert caught.value.details["param"].replace("[...]", "[0]") == param
    assert caught.value.http_status == 400


@quick
@given(st.binary(max_size=40), made.spoilt(RICH))
def test_no_body_gets_past_the_checks_untyped(raw, body):
    with pytest.raises(RequestRefused):
        WIRE.read_request(raw)
    with contextlib.suppress(RequestRefused):
        request = WIRE.read_request(json.dumps(body).encode()).generate[0]
        found = WIRE.read_request(WIRE.write_request(request)).generate[0]
        assert found == made.without(request, [d.detail for d in WIRE.drops(request)])


FULL = Message(
    "assistant",
    "x",
    tool_calls=(ToolCall("c", "f", "{}"),),
    thoughts=(Thought("openai", "e", "t", "rs_1"),),
)
WHOLE = Reply(
    id="a",
    model="m",
    created=0,
    choices=(Choice(0, FULL, "stop", (TokenLogprob("a", -1.0, None, (("b", -2.0),)),)),),
)
EVENTS = events(
    write(
        [
            Chunk(**head, reasoning="t"),
            Chunk(**head, thought=FULL.thoughts[0]),
            Chunk(**head, text="x", logprobs=WHOLE.choices[0].logprobs),
            Chunk(**head, tool_calls=(ToolCallDelta(0, "c", "f", "{}"),)),
            Chunk(**head, finish_reason="tool_calls", usage=Usage(1, 2)),
        ]
    )
)


@quick
@given(
    made.spoilt(json.loads(WIRE.write_reply(WHOLE, ASKED))),
    st.sampled_from(EVENTS).flatmap(made.spoilt),
)
def test_no_answer_gets_past_the_checks_untyped(body, event):
    with contextlib.suppress(BackendError):
        WIRE.read_reply(json.dumps(body).encode())
    with contextlib.suppress(BackendError):
        WIRE.stream_reader().feed(sse.Event(json.dumps(event).encode()))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{}",
        b"[1]",
        b'{"status":"failed"}',
        b'{"status":"queued"}',
        b'{"status":"completed","output":[{"type":"message","content":[{"logprobs":[1]}]}]}',
        b'{"error":{"message":"no"}}',
        b'{"output":3}',
    ],
)
def test_an_answer_that_is_none_is_an_error(body):
    with pytest.raises(BackendError):
        WIRE.read_reply(body)
