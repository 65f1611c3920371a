"""Factors learnt from simulated runs: closed forms, coverage of the intervals, robustness."""

import math
import random

import pytest

from stead.planning.calibrate import Example, Prior, _inverse, fit

NAMES = ("fixed", "per token", "per weight")
PRIOR = Prior({"fixed": (1.0, 0.3), "per token": (1.0, 0.5), "per weight": (1.0, 0.5)}, spread=0.15)


def runs(
    count: int, seed: int, factors: tuple[float, ...], spread: float, *, heavy: bool = False
) -> list[Example]:
    """Simulate runs of random sizes that need Σ factor × part, off by `spread`."""
    rng = random.Random(seed)
    made = []
    for i in range(count):
        parts = dict(
            zip(NAMES, (1.0, rng.uniform(0.1, 4), 10 ** rng.uniform(-1, 0.6)), strict=True)
        )
        noise = rng.gauss(0, 1)
        if heavy:  # Laplace: the same variance, heavier tails
            noise = rng.choice((-1, 1)) * rng.expovariate(math.sqrt(2))
        whole = sum(f * parts[n] for f, n in zip(factors, NAMES, strict=True))
        made.append(Example(parts, whole * math.exp(spread * noise), kind=("a", "b")[i % 2]))
    return made


def test_without_runs_the_prior_is_the_forecast() -> None:
    found = fit([], PRIOR, NAMES).predict({"fixed": 1.0, "per token": 2.0})

    assert found.expected == pytest.approx(3.0)
    assert found.low < 3.0 < found.high


def test_one_part_has_the_closed_form_of_a_normal_mean() -> None:
    prior = Prior({"only": (1.0, 0.5)}, spread=0.1, runs=1e9)  # the spread is as good as known
    parts, needed = {"only": 10.0}, 13.0

    found = fit([Example(parts, needed)], prior, ("only",))

    x, trust = 10.0 / 13.0, 1 / 0.1**2  # one observation of factor·x = 1 with variance 0.01
    mean = (1 / 0.25 + trust * x) / (1 / 0.25 + trust * x * x)
    assert found.factors[0] == pytest.approx(mean, rel=0.05)  # a run that far off counts a bit less


def test_many_runs_find_the_factors() -> None:
    found = fit(runs(200, 1, (1.3, 0.6, 2.0), 0.05), PRIOR, NAMES)

    assert found.factors == pytest.approx((1.3, 0.6, 2.0), rel=0.08)
    assert found.spread == pytest.approx(0.05, rel=0.25)


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("count", [0, 3, 10, 40])
def test_nine_of_ten_runs_fall_into_the_interval(count: int, heavy: bool) -> None:
    """Factors themselves are drawn from the prior, so the claim is tested as it is made."""
    rng = random.Random(5)
    inside = trials = 0
    for trial in range(60):
        factors = tuple(max(0.1, rng.gauss(m, sd)) for m, sd in PRIOR.factors.values())
        past = runs(count, trial, factors, 0.12, heavy=heavy)
        found = fit(past, PRIOR, NAMES)
        for new in runs(5, 1000 + trial, factors, 0.12, heavy=heavy):
            interval = found.predict(new.parts, new.kind)
            inside += interval.low <= new.needed <= interval.high
            trials += 1

    assert inside / trials >= 0.85


def test_runs_narrow_the_interval() -> None:
    parts = {"fixed": 1.0, "per token": 2.0, "per weight": 1.0}

    widths = []
    for count in (0, 3, 10, 40, 160):
        interval = fit(runs(count, 2, (1.1, 0.9, 1.2), 0.05), PRIOR, NAMES).predict(parts, "a")
        widths.append(interval.high / interval.low)

    assert widths == sorted(widths, reverse=True)


def test_a_broken_record_does_not_spoil_the_others() -> None:
    good = runs(30, 3, (1.0, 1.0, 1.0), 0.03)
    broken = Example(good[0].parts, good[0].needed * 15)
    parts = {"fixed": 1.0, "per token": 2.0, "per weight": 1.0}

    found = fit([*good, broken], PRIOR, NAMES).predict(parts)

    assert found.expected == pytest.approx(4.0, rel=0.1)


def test_a_kind_that_always_needs_more_is_told_apart() -> None:
    usual = runs(40, 4, (1.0, 1.0, 1.0), 0.02)
    more = [Example(e.parts, e.needed * 1.2, kind="dpo") for e in runs(10, 5, (1.0,) * 3, 0.02)]
    learnt = fit([*usual, *more], PRIOR, NAMES)
    parts = {"fixed": 1.0, "per token": 2.0, "per weight": 1.0}

    ratio = learnt.predict(parts, "dpo").expected / learnt.predict(parts, "a").expected

    assert 1.1 < ratio < 1.25


def test_a_part_that_is_not_there_has_no_interval_of_its_own() -> None:
    assert set(fit([], PRIOR, NAMES).each({"fixed": 2.0, "per token": 0.0})) == {"fixed"}


def test_the_inverse_is_one() -> None:
    matrix = [[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]]
    inverse = _inverse(matrix)

    product = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*inverse, strict=True)] for row in matrix]  # fmt: skip

    for i, row in enumerate(product):
        assert row == pytest.approx([float(i == j) for j in range(3)], abs=1e-12)
