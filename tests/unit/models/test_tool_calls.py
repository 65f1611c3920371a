"""Function calls in answers: three families' formats, any pieces, truncation, and calls that are forced."""

import asyncio
import itertools
import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stead.core.errors import UsageError
from stead.data.template_files import CHATML
from stead.messages import GenerateRequest, ImagePart, Message, Sampling, TextPart
from stead.models.load import load_model
from stead.models.writing.answering import Speaker
from stead.models.writing.local import LocalBackend
from stead.models.writing.tool_calls import HERMES, LLAMA, MISTRAL, ToolParser, detect, gather

CALL = '{"name": "add", "arguments": {"a": [1, "}"], "b": {"c": "\\"x"}}}'
ARGUMENTS = '{"a": [1, "}"], "b": {"c": "\\"x"}}'


def read(form, pieces):
    parser = ToolParser(form)
    events = [e for piece in pieces for e in parser.feed(piece)] + parser.finish()
    text, calls = gather(events)
    return text, [(c.name, c.arguments) for c in calls], events


CASES = [
    (HERMES, f"Well.\n<tool_call>\n{CALL}\n</tool_call>", "Well.", [("add", ARGUMENTS)]),
    (HERMES, f"<tool_call>{CALL}</tool_call>\n<tool_call>\n{CALL}</tool_call>\n", "", [("add", ARGUMENTS)] * 2),
    (HERMES, '<tool_call>{"arguments": {"a":1}, "name": "f"}</tool_call>', "", [("f", '{"a":1}')]),
    (HERMES, "<tool_call>nonsense</tool_call> and so on", "<tool_call>nonsense</tool_call> and so on", []),
    (HERMES, "a < b and <tool is no mark", "a < b and <tool is no mark", []),
    (HERMES, '<tool_call>{"name": "f", "arguments": {"a": 1', "", [("f", '{"a": 1')]),
    (HERMES, '<tool_call>{"name": "f"', '<tool_call>{"name": "f"', []),
    (LLAMA, '{"name": "add", "parameters": {"a": 1}}', "", [("add", '{"a": 1}')]),
    (LLAMA, '\n{"name": "f", "parameters": {}}; {"name": "g", "parameters": {"x": "}"}}', "", [("f", "{}"), ("g", '{"x": "}"}')]),
    (LLAMA, '{"answer": 3} is what I say', '{"answer": 3} is what I say', []),
    (LLAMA, 'It is {"name": "f", "parameters": {}}', 'It is {"name": "f", "parameters": {}}', []),
    (MISTRAL, f"[TOOL_CALLS] [{CALL}, {CALL}]", "", [("add", ARGUMENTS)] * 2),
    (MISTRAL, '[TOOL_CALLS] [{"name": "f", "arguments": {}, "id": "abcdefghi"}]', "", [("f", "{}")]),
    (MISTRAL, '[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]sub[ARGS]{}', "", [("add", '{"a": 1}'), ("sub", "{}")]),
]  # fmt: skip


@pytest.mark.parametrize(("form", "text", "shown", "calls"), CASES)
def test_an_answer_is_read_as_text_and_calls(form, text, shown, calls):
    assert read(form, [text])[:2] == (shown, calls)


@given(st.sampled_from(CASES), st.lists(st.integers(0, 200), max_size=12))
def test_the_pieces_an_answer_comes_in_do_not_matter(case, cuts):
    form, text, shown, calls = case
    edges = [0, *sorted(c % (len(text) + 1) for c in cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]

    assert read(form, pieces)[:2] == (shown, calls)


def test_arguments_come_out_while_they_are_written():
    parser = ToolParser(HERMES)
    parser.feed('<tool_call>{"name": "f", "arguments": {"a": ')

    events = parser.feed("12")

    assert [e.arguments for e in events] == ["12"]
    assert len(ToolParser(MISTRAL).feed('[TOOL_CALLS]f[ARGS]{"a"')[0].id) == 9


def test_only_a_whole_call_ends_an_answer_as_one():
    speaker = Speaker(ToolParser(HERMES), "<tool_call>")
    speaker.feed(CALL)

    assert speaker.reason("stop") == "tool_calls"
    assert speaker.reason("length") == "length"


@pytest.mark.parametrize(
    ("source", "form"),
    [
        (CHATML, HERMES),
        ("{{ '[TOOL_CALLS] ' }}", MISTRAL),
        ('{% if tools %}{"name": f, "parameters": {}}{% endif %}', LLAMA),
        ("{{ messages }}", None),
    ],
)
def test_the_template_says_which_format_it_is(source, form):
    assert detect(source) is form


TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "add",
            "parameters": {
                "type": "object", "properties": {"a": {"type": "integer"}, "unit": {"enum": ["m", "km"]}},
                "required": ["a", "unit"], "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
)  # fmt: skip


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    from tests.conftest import make_tiny_model

    folder = tmp_path_factory.mktemp("chatml")
    make_tiny_model(folder, template=CHATML)
    return LocalBackend.of(load_model(folder, dtype="fp32", device="cpu"), name="m")


def ask(choice, **more):
    sampling = Sampling(temperature=1.3, seed=3, max_tokens=150, **more)
    messages = (Message("user", "what is two plus two?"),)
    return GenerateRequest(
        model="m", messages=messages, tools=TOOLS, tool_choice=choice, sampling=sampling
    )


def test_a_named_function_is_called_with_arguments_of_its_schema(backend):
    choice = {"type": "function", "function": {"name": "add"}}
    reply = asyncio.run(backend.generate(ask(choice, n=4)))

    for one in reply.choices:
        (call,) = one.message.tool_calls
        assert (call.name, one.finish_reason, one.message.content) == ("add", "tool_calls", None)
        jsonschema.validate(json.loads(call.arguments), TOOLS[0]["function"]["parameters"])


def test_a_required_call_streams_as_it_is_answered_whole(backend):
    async def collect():
        return [c async for c in backend.stream(ask("required"))]

    whole = asyncio.run(backend.generate(ask("required"))).choices[0]
    chunks = asyncio.run(collect())
    text, calls = gather([d for c in chunks for d in c.tool_calls])

    assert [(c.name, c.arguments) for c in calls] == [
        (c.name, c.arguments) for c in whole.message.tool_calls
    ]
    assert text == "".join(c.text for c in chunks) == ""
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["tool_calls"]


def test_tools_change_the_prompt_unless_none_may_be_called(backend):
    count = lambda choice: asyncio.run(backend.count(ask(choice)))  # noqa: E731

    assert count("auto") > count("none")


@pytest.mark.parametrize(
    ("choice", "extra", "param"),
    [
        ({"type": "function", "function": {"name": "nope"}}, {}, "tool_choice"),
        ("auto", {"response_format": {"type": "json_object"}}, "response_format"),
        ("auto", {"messages": (Message("user", (TextPart("see"), ImagePart("data:,"))),)}, "messages[0].content[1]"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_with_the_field(backend, choice, extra, param):
    from msgspec.structs import replace

    with pytest.raises(UsageError) as caught:
        asyncio.run(backend.generate(replace(ask(choice), **extra)))
    assert caught.value.details["param"] == param
    assert caught.value.http_status == 400
