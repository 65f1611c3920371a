import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stead.core import seeds


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1), st.text(max_size=20))
def test_stream_is_63_bits_and_a_function_of_its_arguments(seed, step, name):
    value = seeds.stream(seed, step, name)

    assert 0 <= value < 2**63
    assert value == seeds.stream(seed, step, name)


def test_stream_differs_by_each_argument():
    values = {
        seeds.stream(1, 1, "a"),
        seeds.stream(2, 1, "a"),
        seeds.stream(1, 2, "a"),
        seeds.stream(1, 1, "b"),
    }

    assert len(values) == 4


def test_a_seed_beyond_64_bits_is_refused():
    with pytest.raises(struct.error):
        seeds.stream(2**63, 0, "a")


@given(st.integers(0, 99), st.integers(0, 5), st.integers(1, 300))
def test_permutation_holds_every_row_once(seed, epoch, n):
    assert sorted(seeds.permutation(seed, epoch, n)) == list(range(n))


def test_epochs_and_seeds_give_other_orders():
    orders = {tuple(seeds.permutation(s, e, 50)) for s in range(4) for e in range(4)}

    assert len(orders) == 16


@pytest.mark.parametrize(("i", "n"), [(-1, 3), (3, 3), (0, 0)])
def test_an_index_outside_is_refused(i, n):
    with pytest.raises(ValueError, match="outside"):
        seeds.permute(0, 0, i, n)


def test_every_position_is_equally_likely():
    counts = [0] * 8
    for seed in range(4000):
        counts[seeds.permute(seed, 0, 0, 8)] += 1

    assert max(abs(c - 500) for c in counts) < 100  # 4.8 standard deviations of a fair draw
