"""Every fault of an endpoint, before and after the commit point, with retry, fallback and neither (GW1)."""

import asyncio

import pytest
from tests.fakes import fault_catalogue as faults
from tests.fakes.gateway_cases import Case, Outcome, campaign, draw, judge, show

from stead.messages import Call


def test_the_catalogue_has_what_it_should() -> None:
    kinds = {*faults.PLACED, *faults.WHOLE, *faults.HARMLESS, *faults.UNREACHABLE}

    assert len(kinds) >= 50
    assert {draw(seed).fault for seed in range(2000)} == kinds


@pytest.mark.spec("004-005", "004-064")
def test_no_token_is_wrong_doubled_missing_or_moved_and_every_failure_is_typed() -> None:
    failures = asyncio.run(campaign(range(500)))

    assert not failures, show(failures)


GOOD = Outcome(text=faults.TEXT, call=Call(id="c"))


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        (("fin", 3, True, "none"), Outcome(text=faults.TEXT[:9], call=Call(id="c"))),
        (("fin", 3, True, "none"), Outcome(text="w0 w0 w1 ", error="stream-cut")),
        (("fin", 3, True, "fallback"), Outcome(text="w0 ", error="stream-cut", healthy=1)),
        (("fin", 0, True, "fallback"), Outcome(error="stream-cut")),
        (("crlf", 0, True, "none"), Outcome(error="bad-answer")),
        (("stall", 0, True, "none"), Outcome(error="deadline", seconds=9.0)),
        (("fin", 0, True, "retry"), GOOD),
    ],
    ids=["cut", "doubled", "glued", "nobody", "refused", "late", "unrecorded"],
)  # fmt: skip
def test_the_judge_sees_what_is_wrong(case: tuple[str, int, bool, str], outcome: Outcome) -> None:
    fault, place, stream, mode = case

    assert judge(Case(fault, place, "openai_chat", stream, mode, "python"), outcome)
