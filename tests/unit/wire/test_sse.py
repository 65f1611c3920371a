"""Event streams: the same events however the bytes are split."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stead.core.errors import BackendError
from stead.wire.sse import Event, Parser, comment, write

STREAM = (
    "\ufeff: hello\nid: 7\nevent: note\ndata: first\ndata:  second é\n\n"
    'data\n\nretry: 10\nunknown: x\n\ndata: {"a": 1}\n\n:\n\ndata: [DONE]\n\n'
).encode()
EVENTS = [
    Event("first\n second é".encode(), "note", "7"),
    Event(b"", "", "7"),
    Event(b'{"a": 1}', "", "7"),
    Event(b"[DONE]", "", "7"),
]


def parse(pieces):
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_split_in_two_gives_the_same_events(end):
    stream = STREAM.replace(b"\n", end)

    for at in range(len(stream) + 1):
        assert parse([stream[:at], stream[at:]]) == EVENTS, at


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_single_bytes_give_the_same_events(end):
    stream = STREAM.replace(b"\n", end)

    assert parse([stream[i : i + 1] for i in range(len(stream))]) == EVENTS


quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
lines = st.binary(max_size=12).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b""))
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@quick
@given(
    st.lists(st.lists(lines, min_size=1, max_size=3), max_size=4),
    ends,
    st.lists(st.integers(0, 200), max_size=8),
)
def test_written_events_come_back_from_any_chunking(events, end, cuts):
    stream = b"".join(write(b"\n".join(e)) for e in events).replace(b"\n", end)
    points = sorted({min(c, len(stream)) for c in cuts} | {0, len(stream)})

    found = parse([stream[a:b] for a, b in itertools.pairwise(points)])

    assert [e.data for e in found] == [b"\n".join(e) for e in events]


@quick
@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_split_anywhere_give_what_they_give_whole(data, at):
    assert parse([data[:at], data[at:]]) == parse([data])


def test_an_event_cut_off_by_the_end_is_dropped_and_told():
    parser = Parser()

    assert parser.feed(b"data: half") == []
    assert parser.pending


def test_names_ids_and_comments_are_written():
    found = parse([comment("waiting"), write(b"x", "note", "3")])

    assert found == [Event(b"x", "note", "3")]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 200, b"data: " + b"x" * 90 + b"\n"])
def test_an_endless_event_is_refused(piece):
    parser = Parser(limit_bytes=100)

    with pytest.raises(BackendError, match="100 bytes") as caught:
        [parser.feed(piece) for _ in range(3)]

    assert caught.value.code == "event-too-large"
