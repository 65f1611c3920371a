from hypothesis import given
from hypothesis import strategies as st

from stead.models.writing.detokenize import Detokenizer, StopText


def utf8(ids):
    return bytes(ids).decode(errors="replace")


@given(st.text(max_size=30))
def test_pieces_add_up_and_never_hold_half_a_character(text):
    each = Detokenizer(utf8)
    pieces = [each.push(b) for b in text.encode()]

    assert "".join(pieces) + each.flush() == text
    assert all("\ufffd" not in p for p in pieces) or "\ufffd" in text


def test_an_unfinished_character_comes_out_at_the_end_only():
    each = Detokenizer(utf8)

    assert [each.push(b) for b in b"a\xe2\x82"] == ["a", "", ""]
    assert each.flush() == "\ufffd"


@given(st.text("ab", max_size=20), st.text("ab", min_size=1, max_size=3), st.data())
def test_stop_strings_cut_at_the_first_place_however_the_text_is_split(text, stop, data):
    each, shown, rest = StopText((stop,)), "", text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        shown, rest = shown + each.push(rest[:size]), rest[size:]
    shown += each.flush()

    assert shown == text.partition(stop)[0]
    assert each.stopped == (stop in text)
