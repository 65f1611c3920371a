"""Addresses as people write them, waits as endpoints write them, bodies without some fields."""

import pytest

from stead.inference.address import Address, retry_after, without

CHAT = "/v1/chat/completions"
NOW = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("url", "version", "found"),
    [
        ("http://h:1", None, "http://h:1/v1/chat/completions"),
        ("http://h:1/", None, "http://h:1/v1/chat/completions"),
        ("https://h/openai/v1/", None, "https://h/openai/v1/chat/completions"),
        ("https://h/api", None, "https://h/api/v1/chat/completions"),
        ("https://h/api/v3", None, "https://h/api/v3/chat/completions"),
        ("https://h/v1beta/openai", None, "https://h/v1beta/openai/chat/completions"),
        ("https://v1.example", None, "https://v1.example/v1/chat/completions"),
        ("https://h", "", "https://h/chat/completions"),
        ("https://h/v2", "/v2", "https://h/v2/chat/completions"),
    ],
)
def test_the_version_of_an_address_replaces_that_of_the_routes(
    url: str, version: str | None, found: str
) -> None:
    assert Address.of(url, version).to(CHAT) == found


@pytest.mark.parametrize(
    ("url", "path", "found"),
    [
        (
            "https://h/v1beta",
            "/v1beta/models/m:generateContent",
            "https://h/v1beta/models/m:generateContent",
        ),
        ("http://h:1/api/", "/api/chat", "http://h:1/api/chat"),
        ("http://api", "/api/chat", "http://api/api/chat"),
        ("http://h:1/x", "/api/chat", "http://h:1/x/api/chat"),
    ],
)
def test_a_version_that_both_name_stands_once(url: str, path: str, found: str) -> None:
    assert Address.of(url).to(path) == found


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "7", "Retry-After-Ms": "250"}, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": NOW}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": NOW}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"Retry-After": "999999999999"}, 3600.0),
        ({"Retry-After": "-5", "Date": NOW}, None),
        ({"Retry-After": "soon", "Date": NOW}, None),
        ({"Retry-After": "1" * 500}, None),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "x"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_read_as_seconds_date_or_milliseconds(
    headers: dict[str, str], seconds: float | None
) -> None:
    found = retry_after(headers)

    assert (None if found is None else float(found)) == seconds


def test_fields_are_taken_out_and_the_rest_stays_as_it_is() -> None:
    body = b'{"model":"m","stream_options":{"include_usage":true},"x":1.50}'

    assert without(body, ("stream_options",)) == b'{"model":"m","x":1.50}'
    assert without(body, ("other",)) is body
