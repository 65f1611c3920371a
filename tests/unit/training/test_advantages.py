"""Advantages by hand: what each formula gives on numbers that fit on paper."""

import math

import numpy as np
import pytest

from stead.training.rl import advantages as adv


def test_group_relative_is_distance_from_the_group_in_its_deviations() -> None:
    """Group 1: mean 2, sample deviation 1. Group 2: mean 5, deviation √2·… of (4, 5, 6) is 1."""
    found = adv.group_relative([1, 2, 3, 4, 5, 6], 3, "group")

    assert found == pytest.approx([-1, 0, 1, -1, 0, 1], abs=1e-3)  # 1e-4 is added to deviations


def test_without_a_scale_only_the_mean_is_taken_off() -> None:
    assert adv.group_relative([0, 1, 10, 30], 2, "none").tolist() == [-0.5, 0.5, -10, 10]


def test_the_batch_scale_divides_all_groups_by_one_deviation() -> None:
    """Rewards 0, 2, 4, 6: mean 3, sample variance 20/3."""
    found = adv.group_relative([0, 2, 4, 6], 2, "batch")

    assert found == pytest.approx(np.array([-1, 1, -1, 1]) / math.sqrt(20 / 3), rel=1e-4)


def test_equal_rewards_teach_nothing() -> None:
    assert adv.group_relative([7, 7, 7], 3, "group").tolist() == [0, 0, 0]
    assert adv.is_flat([7, 7, 7, 1, 2, 3], 3).tolist() == [True, False]


def test_leave_one_out_compares_with_the_others_only() -> None:
    """Rewards 1, 2, 6: the others' means are 4, 3.5 and 1.5."""
    assert adv.leave_one_out([1, 2, 6], 3).tolist() == [-3, -1.5, 4.5]
    assert adv.leave_one_out([5.0], 1).tolist() == [0]


def test_leave_one_out_is_the_group_mean_stretched() -> None:
    rewards = np.random.default_rng(0).normal(size=12)
    centered = adv.group_relative(rewards, 4, "none")

    assert adv.leave_one_out(rewards, 4) == pytest.approx(centered * 4 / 3)


def test_generalized_advantages_by_hand() -> None:
    """γ = 0.5, λ = 0.5: δ = (0 + 0.5·2 − 1, 1 + 0.5·4 − 2, 10 − 4) = (0, 1, 6)."""
    found, returns = adv.generalized(np.array([0.0, 1, 10]), np.array([1.0, 2, 4]), 0.5, 0.5)

    assert found.tolist() == [0 + 0.25 * 2.5, 1 + 0.25 * 6, 6]
    assert returns.tolist() == [1.625, 4.5, 10]


def test_generalized_at_its_two_ends() -> None:
    """λ = 0: one step ahead. λ = 1 and γ = 1: the sum of what is still to come, minus the value."""
    rewards, values = np.array([1.0, 2, 3]), np.array([0.5, 0.25, 0.125])

    ahead, _ = adv.generalized(rewards, values, 1.0, 0.0)
    whole, _ = adv.generalized(rewards, values, 1.0, 1.0)

    assert ahead.tolist() == [1 + 0.25 - 0.5, 2 + 0.125 - 0.25, 3 - 0.125]
    assert whole.tolist() == [6 - 0.5, 5 - 0.25, 3 - 0.125]


def test_whitening_gives_mean_0_and_variance_1() -> None:
    values = np.random.default_rng(1).normal(3, 5, 50)

    white, kept = adv.whiten(values), adv.whiten(values, shift=False)

    assert (white.mean(), white.var(ddof=1)) == pytest.approx((0, 1), abs=1e-8)
    assert (kept.mean(), kept.var(ddof=1)) == pytest.approx((values.mean(), 1))
    assert adv.whiten(np.array([4.0])).tolist() == [0]
    assert len(adv.whiten(np.array([]))) == 0
