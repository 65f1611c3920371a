"""Gemini's dialects: what they carry comes back, what they drop is named, answers of all kinds are read."""

import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes import wire as fakes

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
    ToolCall,
    ToolCallDelta,
    Usage,
)
from stead.wire.dialect import DIALECTS, Asked, RequestRefused
from stead.wire.sse import Event, Parser

CHAT, EMBED, COUNT = map(DIALECTS.create, ("google", "google_embed", "google_count"))
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
extras = st.sampled_from(
    [{}, {"safetySettings": [{"category": "A", "threshold": "B"}]}, {"cachedContent": "c/1"},
     {"thinkingConfig": {"thinkingBudget": 5}}, {"keep_alive": 3, "store": True}]
)  # fmt: skip
head = {"id": "i", "model": "m", "created": 0}


@quick
@given(fakes.requests(fakes.conversations(), extras))
def test_a_chat_comes_back_without_exactly_what_is_named_as_dropped(request):
    expected = fakes.without(request, fakes.dropped_names(CHAT, request))
    if not expected.tools:  # how to choose among none is nothing to tell
        expected = msgspec.structs.replace(expected, tool_choice=None)

    found = CHAT.read_request(CHAT.write_request(request)).generate[0]

    assert found == msgspec.structs.replace(
        expected, model="", stream=False
    )  # both are in the path


def test_the_path_names_the_model_and_nothing_else():
    chat = GenerateRequest(model="gemini-2.5-flash", messages=(Message("user", "x"),))
    stream = msgspec.structs.replace(chat, model="models/a/../b?c", stream=True)
    tuned = msgspec.structs.replace(chat, model="tunedModels/mine")

    assert CHAT.target(chat) == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert CHAT.target(stream) == "/v1beta/models/a%2F..%2Fb%3Fc:streamGenerateContent?alt=sse"
    assert CHAT.target(tuned) == "/v1beta/tunedModels/mine:generateContent"
    assert EMBED.target(EmbedRequest(model="e", input=("x",))) == (
        "/v1beta/models/e:batchEmbedContents"
    )
    assert CHAT.auth("k") == {"x-goog-api-key": "k"}


def test_a_request_has_the_vendors_shape():
    call = ToolCall("id1~thought~SIG", "f", '{"a": 1}')
    request = GenerateRequest(
        model="m",
        messages=(
            Message("system", "be kind"),
            Message("user", (TextPart("look"), ImagePart("gs://bucket/x.png"))),
            Message("assistant", "", tool_calls=(call, ToolCall("id2", "g", "{}"))),
            Message("tool", "one", tool_call_id="id1~thought~SIG"),
            Message("tool", "two", tool_call_id="id2"),
        ),
        tools=(fakes.TOOL,),
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format=fakes.SCHEMA,
        extra={"reasoning_effort": "low"},
    )

    body = json.loads(CHAT.write_request(request))

    assert body == {
        "systemInstruction": {"parts": [{"text": "be kind"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "look"}, {"fileData": {"fileUri": "gs://bucket/x.png"}}]},
            {"role": "model", "parts": [
                {"functionCall": {"name": "f", "args": {"a": 1}, "id": "id1"}, "thoughtSignature": "SIG"},
                {"functionCall": {"name": "g", "args": {}, "id": "id2"}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "f", "response": {"output": "one"}, "id": "id1"}},
                {"functionResponse": {"name": "g", "response": {"output": "two"}, "id": "id2"}},
            ]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
        },
    }  # fmt: skip
    assert not CHAT.drops(request)


def test_the_system_speaking_late_is_told():
    late = (Message("user", "x"), Message("system", "y"))

    found = CHAT.drops(GenerateRequest(model="m", messages=late))

    assert [(d.kind, d.detail.partition(" ")[0]) for d in found] == [
        ("param_translated", "messages.system")
    ]


@quick
@given(
    fakes.some,
    st.lists(fakes.calls, max_size=2, unique_by=lambda c: c.id).map(tuple),
    st.none() | fakes.some,
    st.sampled_from(["stop", "length", "content_filter"]),
    fakes.usages,
    fakes.logprobs,
)
def test_a_reply_survives_there_and_back(text, calls, thought, reason, usage, lps):
    message = Message("assistant", text, tool_calls=calls, reasoning=thought)
    reason = "tool_calls" if calls and reason == "stop" else reason
    choices = tuple(Choice(i, message, reason, lps) for i in range(2))
    reply = Reply(id="r", model="m", created=0, choices=choices, usage=usage)

    assert CHAT.read_reply(CHAT.write_reply(reply, Asked("m"))) == reply


@quick
@given(
    st.lists(st.tuples(fakes.text, fakes.text), max_size=4),
    st.sampled_from(["stop", "length"]),
    fakes.usages,
    st.integers(1, 40),
)
def test_a_stream_survives_there_and_back_at_any_split(pieces, reason, usage, size):
    chunks = [Chunk(**head, text=t, reasoning=r) for t, r in pieces]
    chunks.append(Chunk(**head, finish_reason=reason, usage=usage))
    writer, reader, parser = CHAT.stream_writer(Asked("m")), CHAT.stream_reader(), Parser()
    sent = b"".join(writer.chunk(c) for c in chunks) + writer.end()

    events = [e for i in range(0, len(sent), size) for e in parser.feed(sent[i : i + size])]
    found = [c for e in events for c in reader.feed(e)]

    assert found == [c for c in chunks if c.text or c.reasoning or c.finish_reason]


def event(parts=(), **more):
    content = {"role": "model", "parts": list(parts)}
    body = {"candidates": [{"content": content} | more], "responseId": "r", "modelVersion": "m"}
    return Event(json.dumps(body).encode())


def test_streamed_calls_are_numbered_on_and_have_stable_ids():
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    signed = {"functionCall": {"name": "g"}, "thoughtSignature": "S"}

    runs = []
    for _ in range(2):
        reader = CHAT.stream_reader()
        events = [event([call]), event([call, signed]), event([], finishReason="STOP")]
        runs.append([c for e in events for c in reader.feed(e)])

    deltas = [d for c in runs[0] for d in c.tool_calls]
    assert runs[0] == runs[1]
    assert [(d.index, d.name, d.arguments) for d in deltas] == [
        (0, "f", '{"a": 1}'), (1, "f", '{"a": 1}'), (2, "g", "{}")
    ]  # fmt: skip
    assert len({d.id for d in deltas}) == 3
    assert deltas[2].id.endswith("~thought~S")
    assert runs[0][-1].finish_reason == "tool_calls"


def test_only_the_last_event_gives_usage_and_thoughts_count_as_answer():
    usage = {"promptTokenCount": 4, "candidatesTokenCount": 2, "thoughtsTokenCount": 3,
             "cachedContentTokenCount": 1, "toolUsePromptTokenCount": 5}  # fmt: skip
    reader = CHAT.stream_reader()
    body = json.loads(event([{"text": "a"}]).data) | {"usageMetadata": usage}
    last = json.loads(event([{"text": "b"}], finishReason="STOP").data) | {"usageMetadata": usage}

    first, second = (reader.feed(Event(json.dumps(x).encode()))[0] for x in (body, last))

    assert first.usage is None
    assert second.usage == Usage(9, 5, 1, 3)


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"), ("MALFORMED_FUNCTION_CALL", "error"), ("NEW", "error"),
    ],
)  # fmt: skip
def test_reasons_to_finish(reason, ours):
    body = event([{"text": "x"}], finishReason=reason).data

    assert CHAT.read_reply(body).choices[0].finish_reason == ours


def test_a_blocked_prompt_is_an_answer_without_text_whole_and_streamed():
    body = b'{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}'

    whole = CHAT.read_reply(body)
    (chunk,) = CHAT.stream_reader().feed(Event(body))

    assert (whole.text, whole.choices[0].finish_reason) == ("", "content_filter")
    assert (whole.usage, chunk.usage) == (Usage(3), Usage(3))
    assert chunk.finish_reason == "content_filter"


@pytest.mark.parametrize(
    ("status", "inner", "kind", "code"),
    [
        (400, {"details": [{"reason": "API_KEY_INVALID"}]}, BackendError, "upstream-auth"),
        (400, {}, BackendError, "upstream-refused"),
        (403, {}, BackendError, "upstream-auth"),
        (404, {}, BackendError, "model-not-found"),
        (429, {"details": [{"@type": "RetryInfo", "retryDelay": "34s"}]}, RateLimited, "rate-limited"),
        (503, {}, BackendError, "upstream-overloaded"),
    ],
)  # fmt: skip
def test_error_answers_are_typed(status, inner, kind, code):
    body = json.dumps({"error": {"code": status, "message": "why", "status": "X"} | inner})

    error = CHAT.read_error(status, body.encode(), None)

    assert (type(error), error.code, error.details["upstream_status"]) == (kind, code, status)
    assert "why" in error.message
    assert error.details.get("retry_after_s") == (34.0 if status == 429 else None)


def test_errors_are_written_in_the_vendors_shape():
    body = json.loads(CHAT.write_error(NotFound("model-not-found", "no")))

    assert body == {"error": {"code": 404, "message": "no", "status": "NOT_FOUND"}}


def test_an_answer_to_a_call_that_nobody_made_is_refused():
    stray = GenerateRequest(model="m", messages=(Message("tool", "x", tool_call_id="a"),))

    with pytest.raises(BackendError) as caught:
        CHAT.write_request(stray)

    assert (caught.value.code, caught.value.details["status"]) == ("unknown-call", 400)


@quick
@given(st.binary(max_size=60) | st.sampled_from([b"[" * 100_000, b"null", b"{}", b"[1]", b"\xff"]))
def test_no_bytes_get_past_the_checks_untyped(body):
    for dialect, read in ((CHAT, CHAT.read_reply), (EMBED, EMBED.read_vectors)):
        with pytest.raises(RequestRefused):
            dialect.read_request(body)
        with pytest.raises(BackendError):
            read(body)
        assert isinstance(dialect.read_error(400, body, None), BackendError)


leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | fakes.text
keys = st.sampled_from(
    ["contents", "parts", "text", "role", "functionCall", "functionResponse", "name", "args", "id",
     "response", "candidates", "content", "finishReason", "usageMetadata", "tools", "toolConfig",
     "functionCallingConfig", "mode", "generationConfig", "promptFeedback", "requests", "embeddings",
     "inlineData", "thoughtSignature", "error"]
)  # fmt: skip
trees = st.recursive(
    leaves, lambda x: st.lists(x, max_size=2) | st.dictionaries(keys, x, max_size=3), max_leaves=8
)


@quick
@given(st.dictionaries(keys, trees, max_size=4))
def test_wrong_fields_give_typed_errors_only(body):
    data = msgspec.json.encode(body)
    for call in (
        CHAT.read_request, EMBED.read_request, CHAT.read_reply, EMBED.read_vectors,
        lambda x: CHAT.stream_reader().feed(Event(x)),
    ):  # fmt: skip
        try:
            call(data)
        except (RequestRefused, BackendError):
            continue


def test_vectors_survive_and_so_do_their_requests():
    reply = EmbedReply(model="", vectors=((1.0, 2.0), (3.0,)), usage=Usage(5))
    request = EmbedRequest(model="m", input=("a", "b"), dimensions=3, user="u")

    found = EMBED.read_request(EMBED.write_request(request)).embed

    assert EMBED.read_vectors(EMBED.write_vectors(reply, Asked("m"))) == reply
    assert found == EmbedRequest(model="m", input=("a", "b"), dimensions=3)
    assert fakes.dropped_names(EMBED, request) == {"user"}


def test_a_count_asks_for_the_whole_request_without_its_sampling():
    request = GenerateRequest(
        model="g",
        messages=(Message("system", "s"), Message("user", "x")),
        sampling=Sampling(seed=1),
    )

    body = COUNT.write_request(request)

    assert json.loads(body)["generateContentRequest"]["model"] == "models/g"
    assert COUNT.read_request(body).generate[0].messages == request.messages
    assert COUNT.target(request) == "/v1beta/models/g:countTokens"
    assert COUNT.read_count(COUNT.write_count(7)) == 7
    with pytest.raises(BackendError):
        COUNT.read_count(b'{"totalTokens":-1}')


def test_models_are_listed_by_their_bare_names():
    body = b'{"models":[{"name":"models/gemini-x","inputTokenLimit":1000},{"name":"models/y"}]}'

    assert [(c.id, c.context_length) for c in CHAT.read_models(body)] == [
        ("gemini-x", 1000),
        ("y", None),
    ]


def test_a_delta_is_a_piece():
    writer = CHAT.stream_writer(Asked("m"))
    pieces = (ToolCallDelta(0, "a", "f", '{"x"'), ToolCallDelta(0, None, None, ":1}"))
    silent = [writer.chunk(Chunk(**head, tool_calls=(p,))) for p in pieces]

    (last,) = Parser().feed(writer.chunk(Chunk(**head, finish_reason="tool_calls")))

    part = json.loads(last.data)["candidates"][0]["content"]["parts"][0]
    assert silent == [b"", b""]
    assert part == {"functionCall": {"name": "f", "args": {"x": 1}, "id": "a"}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": ({"type": "web_search"},)}, "tools[0]"),
        ({"tools": (fakes.TOOL,), "tool_choice": "perhaps"}, "tool_choice"),
    ],
)
def test_a_request_that_the_protocol_has_no_words_for_is_refused_by_its_field(change, param):
    request = GenerateRequest(model="m", messages=(Message("user", "x"),), **change)

    with pytest.raises(BackendError) as caught:
        CHAT.write_request(request)

    assert (caught.value.details["status"], caught.value.details["param"]) == (400, param)


def test_an_effort_without_a_budget_is_told():
    asked = [
        GenerateRequest(model="m", messages=(Message("user", "x"),), extra={"reasoning_effort": e})
        for e in ("low", "xhigh", ["odd"])
    ]

    told = [[d.detail.partition(" ")[0] for d in CHAT.drops(r)] for r in asked]

    assert told == [[], ["reasoning_effort"], ["reasoning_effort"]]
    assert b"thinkingConfig" not in CHAT.write_request(asked[1])


def test_a_failed_tool_is_told_as_an_error_and_comes_back_as_one():
    call = Message("assistant", "", tool_calls=(ToolCall("a", "f", "{}"),))
    answer = Message("tool", "no", tool_call_id="a", failed=True)
    request = GenerateRequest(model="m", messages=(Message("user", "x"), call, answer))

    body = CHAT.write_request(request)

    assert b'"response":{"error":"no"}' in body
    assert CHAT.read_request(body).generate[0].messages[-1] == answer
