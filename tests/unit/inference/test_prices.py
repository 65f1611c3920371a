"""Prices are exact: no sum of requests ever differs from the sum of their tokens."""

from decimal import Decimal

import pytest

from stead.core.errors import ConfigError
from stead.inference.prices import FREE, Prices, dollars, picodollars
from stead.messages import Usage


def test_a_million_tokens_cost_their_price_exactly():
    prices = Prices.of("0.15", "0.60", cached="0.075", write="0.1875")

    assert dollars(prices.cost(Usage(10**6, 0))) == Decimal("0.15")
    assert dollars(prices.cost(Usage(10**6, 10**6, cached_tokens=10**6))) == Decimal("0.675")
    assert dollars(prices.cost(Usage(10**6, cache_write_tokens=10**6))) == Decimal("0.1875")
    long = Prices.of("0.15", "0.60", write="0.1875", long_write="0.3")
    both = Usage(10**6, cache_write_tokens=3 * 10**5, long_write_tokens=10**5)
    assert dollars(long.cost(both)) == Decimal("0.1725")  # 0.7 × 0.15 + 0.2 × 0.1875 + 0.1 × 0.3
    assert long.most(10, 0) == 10 * 300_000 == 2 * long.most(10, 0, writes=False)
    assert prices.cost(Usage(3, 7)) == 3 * 150_000 + 7 * 600_000
    assert FREE.cost(Usage(10**9, 10**9)) == 0


def test_a_report_below_zero_never_earns_money():
    assert Prices.of("1", "1").cost(Usage(-5, -5, -5)) == 0
    assert Prices.of("1", "1", cached="0").cost(Usage(5, 0, cached_tokens=50)) == 0


@pytest.mark.parametrize("bad", ["-1", "nan", "inf", "x", "0.0000001", "1e30"])
def test_an_amount_that_cannot_be_counted_is_refused(bad):
    with pytest.raises(ConfigError) as caught:
        Prices.of(bad, "1")
    assert caught.value.code == "bad-price"


def test_dollars_and_picodollars_are_inverse():
    assert picodollars("0.000000000001") == 1
    assert picodollars(0.1) == 10**11
    assert dollars(picodollars("12.34")) == Decimal("12.34")
