import math
import random

import pytest

from stead.scoring import scorer, stats
from stead.scoring.scorer import Sample, Score, Scorer


class Mean(Scorer):
    def score(self, sample):
        raise NotImplementedError


class Share(Mean):
    binary = True


class Median(Mean):
    def aggregate(self, scores):
        return sorted(s.value for s in scores)[len(scores) // 2]


def values(numbers):
    return [Score(float(v)) for v in numbers]


def test_wilson_equals_the_published_example():
    # Newcombe 1998, table I: 81 of 263 by Wilson's method: 0.2553 to 0.3662
    found = stats.wilson(81, 263)

    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    assert (stats.wilson(0, 10).low, stats.wilson(10, 10).high) == (0.0, 1.0)


def test_mcnemar_equals_the_binomial_tail():
    # 10 discordant pairs, 2 against: 2 * (1 + 10 + 45) / 1024
    assert stats.mcnemar(2, 8) == pytest.approx(112 / 1024)
    assert stats.mcnemar(0, 0) == 1
    assert stats.mcnemar(5, 5) == 1


def test_a_seed_gives_the_same_interval_and_another_seed_a_near_one():
    draw = random.Random(0)
    scores = values(draw.random() for _ in range(80))
    one, same, other = (stats.interval(Mean(), scores, seed=s) for s in (1, 1, 2))

    assert one == same
    assert one != other
    assert other.low == pytest.approx(one.low, abs=0.02)  # 2,000 draws: the quantile's own error


def test_the_bootstrap_of_a_mean_agrees_with_its_normal_interval():
    numbers = [random.Random(i).gauss(0, 1) for i in range(400)]
    found = stats.interval(Mean(), values(numbers))
    mean = sum(numbers) / 400
    spread = math.sqrt(sum((v - mean) ** 2 for v in numbers) / 399 / 400)

    assert found.low == pytest.approx(mean - 1.96 * spread, abs=0.15 * spread)
    assert found.high == pytest.approx(mean + 1.96 * spread, abs=0.15 * spread)


@pytest.mark.spec("002-023")
def test_intervals_cover_the_truth_as_often_as_they_say():
    draw = random.Random(7)
    runs, hits = 600, 0
    for seed in range(runs):
        found = stats.interval(
            Mean(), values(draw.betavariate(2, 5) for _ in range(50)), seed=seed, draws=2000
        )
        hits += found.low <= 2 / 7 <= found.high
    # 600 runs: two standard errors are 1.8 points on either side of 95 %
    assert 0.93 <= hits / runs <= 0.97


def test_two_equal_models_raise_no_more_alarms_than_alpha():
    draw = random.Random(11)
    runs, alarms = 300, 0
    for seed in range(runs):
        common = [draw.random() for _ in range(40)]
        first = values(v + draw.gauss(0, 0.2) for v in common)
        second = values(v + draw.gauss(0, 0.2) for v in common)
        alarms += stats.paired(Mean(), first, second, seed=seed, draws=1000).p <= 0.05
    assert alarms / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


def test_two_equal_models_under_a_proportion_raise_no_more_alarms_than_alpha():
    draw = random.Random(13)
    runs, alarms = 2000, 0
    for _ in range(runs):
        first = [float(draw.random() < 0.7) for _ in range(100)]
        second = [float(draw.random() < 0.7) for _ in range(100)]
        found = stats.paired_proportions(first, second)
        alarms += found.p <= 0.05
        assert found.low <= found.delta <= found.high
    assert alarms / runs <= 0.05


def test_the_interval_of_a_paired_proportion_covers_the_truth():
    draw = random.Random(17)
    runs, hits = 2000, 0
    for _ in range(runs):
        first = [float(draw.random() < 0.1) for _ in range(120)]
        second = [max(a, float(draw.random() < 0.7)) for a in first]
        found = stats.paired_proportions(first, second)
        hits += found.low <= 0.9 * 0.7 <= found.high
    assert 0.93 <= hits / runs <= 0.975


def test_pairing_sees_what_two_separate_intervals_hide():
    draw = random.Random(3)
    hard = [draw.random() for _ in range(60)]
    first, second = values(hard), values(v + 0.02 + draw.gauss(0, 0.01) for v in hard)
    apart = (stats.interval(Mean(), first), stats.interval(Mean(), second))
    found = stats.paired(Mean(), first, second)

    assert apart[0].high > apart[1].low
    assert found.low > 0
    assert found.p < 0.01


def test_the_difference_of_a_corpus_metric_is_resampled_from_its_counts():
    bleu = scorer.create(["bleu"])["bleu"]
    texts = [f"row {i} has some words in it and {i * 7} more" for i in range(30)]
    good = [bleu.score(Sample("", t, t)) for t in texts]
    bad = [bleu.score(Sample("", "row has some words", t)) for t in texts]
    found = stats.paired(bleu, bad, good)

    assert found.delta == pytest.approx(100 - bleu.aggregate(bad))
    assert 0 < found.low <= found.delta <= found.high


def test_a_metric_with_its_own_aggregate_is_resampled_by_calling_it():
    scores = values(range(21))
    found = stats.interval(Median(), scores, draws=300)

    assert found.value == 10
    assert 4 <= found.low < 10 < found.high <= 16
    assert stats.paired(Median(), scores, values(v + 3 for v in range(21)), draws=300).delta == 3


def test_equal_answers_at_the_end_of_the_range_still_have_an_interval():
    found = stats.interval(Mean(), values([0.0] * 20))

    assert found.low == 0
    assert found.high == pytest.approx(stats.wilson(0, 20).high)


def test_one_row_shows_nothing():
    found = stats.paired(Mean(), values([0.1]), values([0.9]))

    assert found.p == 1
    assert stats.interval(Mean(), values([0.4])).low == 0


@pytest.mark.parametrize("numbers", [(0.2, 0.9), (0.0, 0.0, 1.0), (0, 0, 0, 0, 0, 0, 0.99)])
def test_few_and_skewed_rows_give_an_interval_around_the_value(numbers):
    found = stats.interval(Mean(), values(numbers))

    assert 0 <= found.low <= found.value <= found.high <= 1


def test_rows_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="2 and 1"):
        stats.paired(Mean(), values([1, 2]), values([1]))
