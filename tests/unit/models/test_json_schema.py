"""Answers kept to a schema: whatever is sampled validates, and what cannot be kept is refused by name."""

import asyncio
import json
import random

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stead.core.errors import UsageError
from stead.messages import GenerateRequest, Sampling
from stead.models.load import load_model
from stead.models.writing.json_schema import any_object, grammar
from stead.models.writing.local import LocalBackend

NAMES = st.sampled_from(["a", "b", "name", 'q"uote', "größe", "na"])
LEAVES = st.one_of(
    st.just({}),
    st.sampled_from(["string", "number", "integer", "boolean", "null"]).map(lambda t: {"type": t}),
    st.just({"type": ["integer", "null"], "title": "t"}),
    st.builds(lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more}, st.integers(0, 3), st.integers(0, 4)),
    st.lists(st.sampled_from([1, "x", "xy", None, True, [1, 2], {"k": "v"}, 2.5, "é"]), min_size=1, max_size=3).map(lambda v: {"enum": v}),
    st.sampled_from([1, "only", {"a": [None]}]).map(lambda v: {"const": v}),
)  # fmt: skip


def _object(parts, required, more):
    return {
        "type": "object", "properties": parts, "required": [n for n in required if n in parts or more is not False],
        "additionalProperties": more,
    }  # fmt: skip


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(_object, st.dictionaries(NAMES, inner, max_size=3), st.lists(NAMES, max_size=2, unique=True), st.one_of(st.booleans(), inner)),
        st.builds(lambda item, low, more: {"type": "array", "items": item, "minItems": low, "maxItems": low + more}, inner, st.integers(0, 2), st.integers(0, 2)),
        st.lists(inner, min_size=1, max_size=3).map(lambda many: {"anyOf": many}),
    ),
    max_leaves=6,
)  # fmt: skip


def write(states, draw, pull=400):
    """Write at random, byte by byte; after `pull` bytes prefer what closes."""
    state, text = states.start(), b""
    while not state.is_over:
        allowed = [b for b in range(256) if state.step(b) is not None]
        if state.accepts and (not allowed or draw.random() < 0.3):
            break
        closing = [b for b in allowed if b in b'"}],'] if len(text) > pull else []
        likely = [b for b in allowed if b in b'"}]:,{[']
        pick = closing or (likely if likely and draw.random() < 0.6 else allowed)
        byte = min(pick, key=b'"}],'.find) if closing else draw.choice(pick)
        text += bytes((byte,))
        state = state.step(byte)
        assert len(text) < 20_000
    return text


@settings(max_examples=100)
@given(SCHEMAS, st.integers(0, 10**6))
def test_whatever_is_written_is_json_of_the_schema(schema, seed):
    text = write(grammar(schema), random.Random(seed))

    value = json.loads(text.decode())
    jsonschema.validate(value, schema)
    assert b"\xef\xbf\xbd" not in text or "\ufffd" in text.decode()


@settings(max_examples=60)
@given(SCHEMAS, st.integers(0, 10**6))
def test_what_is_written_again_compactly_is_accepted(schema, seed):
    """The grammar is not narrower than it says: its own texts, in compact form, are in it."""
    value = json.loads(write(grammar(schema), random.Random(seed)))
    state = grammar(schema).start()

    for byte in json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode():
        after = state.step(byte)
        if after is None:  # a number that Python spells otherwise, or a key written twice
            return
        state = after

    assert state.accepts


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 1, "maxItems": 3},
        "next": {"anyOf": [{"$ref": "#/$defs/leaf"}, {"type": "null"}]},
    },
    "required": ["name", "age", "tags", "next"],
    "additionalProperties": False,
    "$defs": {"leaf": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}},
}  # fmt: skip


def form(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}


@pytest.fixture(scope="module")
def backend(tiny_model):
    return LocalBackend.of(load_model(tiny_model, dtype="fp32", device="cpu"), name="m")


def ask(backend, response_format, **sampling):
    sampling = Sampling(**({"temperature": 1.5, "max_tokens": 200} | sampling))
    request = GenerateRequest(
        model="m", prompt="the", sampling=sampling, response_format=response_format
    )
    return asyncio.run(backend.generate(request))


def test_every_sampled_answer_of_a_model_validates(backend):
    reply = ask(backend, form(PERSON), n=12, seed=5, logprobs=2)

    for choice in reply.choices:
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.text), PERSON)
        assert all(t.logprob > -1e30 for t in choice.logprobs)
    assert len({c.message.text for c in reply.choices}) > 6


def test_kept_and_free_answers_share_a_batch(backend):
    free = GenerateRequest(model="m", prompt="the", sampling=Sampling(temperature=0, max_tokens=30))

    async def both():
        kept = GenerateRequest(
            model="m", prompt="the", sampling=Sampling(temperature=0, max_tokens=200),
            response_format=form(PERSON),
        )  # fmt: skip
        return await asyncio.gather(backend.generate(kept), backend.generate(free))

    kept, other = asyncio.run(both())

    jsonschema.validate(json.loads(kept.text), PERSON)
    assert other.text == asyncio.run(backend.generate(free)).text


def test_json_object_is_an_object_as_far_as_it_gets(backend):
    reply = ask(backend, {"type": "json_object"}, seed=3, max_tokens=120)
    state = any_object().start()

    for byte in reply.text.removesuffix("\ufffd").encode():
        state = state.step(byte)
        assert state is not None
    assert reply.text.startswith("{")
    assert reply.choices[0].finish_reason in {"stop", "length"}
    assert state.accepts == (reply.choices[0].finish_reason == "stop")


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "string", "pattern": "a+"}, "pattern"),
        ({"type": "string", "format": "date"}, "format"),
        ({"type": "object", "properties": {"a": {"type": "number", "minimum": 3}}}, "properties/a/minimum"),
        ({"allOf": [{}]}, "allOf"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "strin"}, "no type"),
        ({"$ref": "https://example.org/x"}, "not in this schema"),
        ({"type": "string", "minLength": -1}, "minLength"),
        (False, "no schema that can be met"),
    ],
)  # fmt: skip
def test_a_keyword_that_cannot_be_kept_is_named(backend, schema, named):
    with pytest.raises(UsageError, match=named) as caught:
        ask(backend, form(schema))
    assert caught.value.code == "schema-unsupported"
    assert caught.value.details["param"].startswith("response_format")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "object", "required": ["a"], "additionalProperties": False},
        {"type": "string", "enum": [1]},
        {"type": "array", "minItems": 3, "maxItems": 2},
    ],
)  # fmt: skip
def test_a_schema_that_nothing_meets_is_said_to_be_so(backend, schema):
    with pytest.raises(UsageError) as caught:
        ask(backend, form(schema))
    assert caught.value.code == "schema-impossible"
