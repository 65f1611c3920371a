"""A whole server under pressure, a few seconds of it; the campaign `service` has the numbers."""

import asyncio

import pytest
from tests.fakes import service_cases as cases

pytestmark = pytest.mark.timeout(60)


_RATES = ("goodput", "refused after")  # of seconds on a shared machine they say nothing


def test_what_is_too_much_is_refused_and_the_rest_answered_as_before(tmp_path):
    sent, wrong, facts = asyncio.run(cases.overload(tmp_path, 2))

    assert [w for w in wrong if not w.startswith(_RATES)] == [], facts
    assert facts["shed"] > sent / 2
    assert facts["goodput_per_s"] > facts["peak_per_s"] / 2


@pytest.mark.slow
def test_after_faults_and_leaving_clients_the_ledger_says_what_the_others_were_told(tmp_path):
    n, wrong, facts = asyncio.run(cases.soak(tmp_path, 2, settle_s=0.2))

    assert wrong == [], facts
    assert n > 20
    assert facts["failed"] > 0


def test_a_stop_lets_streams_end_refuses_new_ones_and_cuts_with_an_event(tmp_path):
    _, wrong, facts = asyncio.run(cases.drain(tmp_path, 5))

    assert wrong == [], facts
    assert facts["cut"] > 0


@pytest.mark.slow
def test_slow_clients_harm_nobody(tmp_path):
    _, wrong, facts = asyncio.run(cases.slow(tmp_path, 60, 2))

    assert wrong == [], facts
