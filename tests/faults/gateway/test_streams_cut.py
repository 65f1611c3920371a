"""A stream that is reset at any byte: an exact prefix, then one typed error, never a second start (ST1)."""

import asyncio

import pytest
from tests.fakes import fault_catalogue as faults
from tests.fakes.gateway_cases import CHAT, reset_at


@pytest.mark.parametrize("dialect", CHAT)
@pytest.mark.parametrize("variant", ["as_is", "crlf"])
def test_reset_at_each_50th_byte_gives_an_exact_prefix_and_one_error(
    dialect: str, variant: str
) -> None:
    body = faults.good(dialect, stream=True).body
    offsets = range(0, len(body), 50)

    wrong = asyncio.run(reset_at(dialect, offsets, variant))

    assert wrong == []
    assert len(offsets) > 20
