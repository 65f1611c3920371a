"""A circuit opens after failures, lets exactly one through, and closes when that one succeeds (GW4)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stead.core.errors import BackendError
from stead.inference.breaker import Breaker, BreakerPolicy, Breakers


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def admitted(breaker, tries=10):
    """How many of so many at once are let through."""
    passed = tries
    for _ in range(tries):
        with suppress(BackendError):
            breaker.enter()
            continue
        passed -= 1
    return passed


def test_five_failures_in_a_row_open_it_and_one_probe_closes_it() -> None:
    clock = Clock()
    breaker = Breaker("e", BreakerPolicy(probe_s=5), clock=clock)
    for _ in range(4):
        breaker.failed()
    assert breaker.state == "closed"

    breaker.failed()
    clock.now = 4.9
    assert (breaker.state, admitted(breaker)) == ("open", 0)
    clock.now = 5.0
    assert (breaker.state, admitted(breaker)) == ("half-open", 1)
    breaker.failed()
    clock.now = 9.9
    assert admitted(breaker) == 0
    clock.now = 10.0
    assert admitted(breaker) == 1
    breaker.succeeded()

    assert (breaker.state, admitted(breaker)) == ("closed", 10)


def test_half_of_the_last_twenty_open_it_too() -> None:
    breaker = Breaker("e", clock=Clock())

    for _ in range(9):
        breaker.succeeded()
        breaker.failed()
    assert breaker.state == "closed"
    breaker.succeeded()
    breaker.failed()

    assert breaker.state == "open"


@given(st.lists(st.sampled_from(["ok", "bad", "left", "wait"]), max_size=80))
def test_never_more_than_one_probe_and_never_locked_for_longer_than_an_interval(
    steps: list[str],
) -> None:
    clock = Clock()
    breaker = Breaker("e", BreakerPolicy(failures=2, window=4, probe_s=1), clock=clock)
    for step in steps:
        clock.now += 1.0 if step == "wait" else 0.0
        half_open = breaker.state == "half-open"
        if half_open:
            assert admitted(breaker) == 1
        elif breaker.state == "open":
            assert admitted(breaker) == 0
            continue
        {"ok": breaker.succeeded, "bad": breaker.failed}.get(step, breaker.released)()

    clock.now += 1.0

    assert admitted(breaker, 1) == 1


def test_a_circuit_belongs_to_vendor_model_and_key() -> None:
    breakers = Breakers(BreakerPolicy(failures=1))

    breakers.of("v", "m", "key1").failed()

    assert breakers.of("v", "m", "key1").state == "open"
    assert breakers.of("v", "m", "key2").state == "closed"
    assert breakers.of("v", "n", "key1").state == "closed"
    assert breakers.states() == {"v/m": "open", "v/n": "closed"}
    with pytest.raises(BackendError, match="v/m keeps failing") as raised:
        breakers.of("v", "m", "key1").enter()
    assert (raised.value.code, raised.value.details["status"]) == ("circuit-open", 503)
