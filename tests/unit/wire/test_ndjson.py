"""Lines of JSON: the same events however the bytes are split."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stead.core.errors import BackendError
from stead.wire.framing import frames
from stead.wire.ndjson import Parser, write

STREAM = '\ufeff{"a": "é"}\r\n\n  {"b": 2}\n{"c": 3}\n'.encode()
LINES = ['{"a": "é"}'.encode(), b'{"b": 2}', b'{"c": 3}']
quick = settings(max_examples=60, deadline=None)


def parse(pieces):
    parser = Parser()
    return [event.data for piece in pieces for event in parser.feed(piece)]


def test_every_split_in_two_and_single_bytes_give_the_same_lines():
    for at in range(len(STREAM) + 1):
        assert parse([STREAM[:at], STREAM[at:]]) == LINES, at
    assert parse([STREAM[i : i + 1] for i in range(len(STREAM))]) == LINES


@quick
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_any_bytes_split_anywhere_give_what_they_give_whole(data, cuts):
    points = sorted({min(c, len(data)) for c in cuts} | {0, len(data)})

    assert parse([data[a:b] for a, b in itertools.pairwise(points)]) == parse([data])


def test_a_line_cut_off_by_the_end_is_dropped_and_told():
    parser = Parser()

    assert [e.data for e in parser.feed(write(b"{}") + b'{"ha')] == [b"{}"]
    assert parser.pending


@pytest.mark.parametrize("piece", [b"x" * 200, b"x" * 60])
def test_an_endless_line_is_refused(piece):
    parser = Parser(limit_bytes=100)

    with pytest.raises(BackendError, match="100 bytes") as caught:
        [parser.feed(piece) for _ in range(3)]

    assert caught.value.code == "event-too-large"


def test_only_event_streams_have_bytes_that_mean_nothing():
    assert frames("sse").idle == b": waiting\n\n"
    assert frames("ndjson").idle == b""
