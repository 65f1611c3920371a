"""What is common to all protocols: names of what is asked for, ids of calls, kinds of images."""

import base64

import pytest

from stead.messages import Deviation, GenerateRequest, Message, Sampling, ToolCall
from stead.wire import given, ids, media, ollama_request
from stead.wire.extras import EXTRAS


def test_what_means_nothing_special_is_not_named():
    quiet = GenerateRequest(
        model="m",
        messages=(Message("user", "x"),),
        tool_choice="auto",
        response_format={"type": "text"},
    )
    loud = GenerateRequest(
        model="m",
        prompt="x",
        sampling=Sampling(temperature=0.0, seed=0, logprobs=0),
        extra={"a": 0},
    )

    assert given.given(quiet) == ()
    assert set(given.given(loud)) == {"temperature", "seed", "logprobs", "a"}  # 0 is a value


def test_a_refusal_names_the_field():
    error = given.refusal(Deviation("param_dropped", "min_p is unknown to X"))

    assert (error.code, error.details) == ("not-supported", {"status": 400, "param": "min_p"})


def test_signatures_travel_in_ids_and_are_taken_off_for_others():
    id_ = ids.signed("a", "SIG==")
    messages = (
        Message("assistant", "", tool_calls=(ToolCall(id_, "f", "{}"),)),
        Message("tool", "x", tool_call_id=id_),
    )
    request = GenerateRequest(model="m", messages=messages)
    bare = ids.without_signatures(request)

    assert ids.split(id_) == ("a", "SIG==")
    assert (bare.messages[0].tool_calls[0].id, bare.messages[1].tool_call_id) == ("a", "a")
    assert ids.without_signatures(bare) is bare


def test_equal_calls_have_equal_ids_and_others_do_not():
    assert ids.stable_id("r", 0, "f", "{}") == ids.stable_id("r", 0, "f", "{}")
    assert len({ids.stable_id("r", i, "f", "{}") for i in range(3)} | {ids.stable_id("s")}) == 4


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"GIF89a....", "image/gif"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (b"RIFF....WAVEfmt ", None),
        (b"<svg/>", None),
        (b"", None),
    ],
)
def test_images_are_known_by_their_first_bytes(data, kind):
    assert media.media_type(data) == kind
    assert media.media_type_of_base64(base64.b64encode(data).decode()) == kind


def test_data_urls_apart_and_together():
    assert media.split_data_url(media.data_url("image/png", "AAAA")) == ("image/png", "AAAA")
    assert media.split_data_url("data:image/svg+xml,<svg/>") is None
    assert media.split_data_url("https://example.org/a.png,;base64") is None


def test_every_option_of_ollama_has_its_place():
    own = set(ollama_request.Options.__struct_fields__) | set(
        ollama_request.Generating.__struct_fields__
    )

    assert EXTRAS["ollama"] - own == {"reasoning_effort"}  # travels as `think`
