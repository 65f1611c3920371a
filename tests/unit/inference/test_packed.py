"""Pieces that arrive together: the same text, the same bytes for the same protocol, errors after what came before."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stead.core.errors import BackendError
from stead.inference import packed
from stead.wire import sse
from stead.wire.dialect import DIALECTS, Asked

CHAT = DIALECTS.create("openai_chat")


def event(text=None, *, index=0, finish=None, role=None, **more):
    delta = ({} if text is None else {"content": text}) | ({} if role is None else {"role": role})
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    body = {
        "id": "a",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
    } | more
    return sse.Event(json.dumps(body).encode())


def written(chunks, **asked):
    writer = CHAT.stream_writer(Asked("m", stream=True, **asked))
    return b"".join(writer.chunk(c) for c in chunks)


@given(st.lists(st.tuples(st.text(min_size=1), st.integers(0, 1)), max_size=12))
def test_text_is_joined_by_choice_and_the_bytes_are_the_upstreams(parts) -> None:
    events = [event(role="assistant", text="", index=i) for i in (0, 1)]
    events += [event(text, index=index) for text, index in parts]
    events += [event(finish="stop", index=i) for i in (0, 1)]

    chunks = list(packed.read(CHAT.stream_reader(), "openai_chat", events))

    for index in (0, 1):
        assert "".join(c.text for c in chunks if c.index == index) == "".join(
            t for t, i in parts if i == index
        )
    assert written(chunks) == b"".join(sse.write(e.data) for e in events)


def test_three_pieces_of_text_are_one_chunk() -> None:
    found = list(
        packed.read(CHAT.stream_reader(), "openai_chat", [event("a"), event("b"), event("c")])
    )

    assert [c.text for c in found] == ["abc"]


@pytest.mark.parametrize("change", [{"text": "x"}, {"model": "other"}, {"id": "b"}, {"index": 3}])
def test_a_changed_chunk_is_written_anew(change) -> None:
    first, *rest = packed.read(
        CHAT.stream_reader(), "openai_chat", [event("a", role="assistant"), event("b")]
    )
    writer = CHAT.stream_writer(Asked("m", stream=True))
    writer.chunk(first)

    data = writer.chunk(replace(rest[0], **change))

    [name] = change
    choice = json.loads(data[6:])["choices"][0]
    said = {"text": choice["delta"]["content"], "index": choice["index"]} | json.loads(data[6:])
    assert said[name] == change[name]
    assert rest[0].raw.data not in data


def test_counts_that_were_not_wanted_are_not_sent_on() -> None:
    chunks = list(
        packed.read(CHAT.stream_reader(), "openai_chat", [event("a", role="assistant", usage=None)])
    )

    assert b"usage" not in written(chunks)
    assert b"usage" in written(chunks, include_usage=True)


def test_what_came_before_a_fault_comes_first() -> None:
    events = [event("a"), event("b"), sse.Event(b"{")]
    chunks = packed.read(CHAT.stream_reader(), "openai_chat", events)

    assert next(chunks).text == "ab"
    with pytest.raises(BackendError):
        next(chunks)


def test_a_stream_without_a_role_gets_one_first() -> None:
    chunks = list(packed.read(CHAT.stream_reader(), "openai_chat", [event("a"), event("b")]))

    first, rest = written(chunks).split(b"\n\n", 1)

    assert json.loads(first[6:])["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert rest == chunks[0].raw.data
