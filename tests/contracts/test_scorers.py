"""What every registered scorer promises, built-in or not."""

import pytest

from stead.core.errors import EvaluationError
from stead.scoring import scorer, stats
from stead.scoring.scorer import Sample

NAMES = scorer.scorers().names()
GOOD = Sample("?", '{"a": 7}', '{"a": 7}', logprobs=(-0.5, -0.25))
BAD = Sample("?", "nothing of it", '{"a": 7}', logprobs=(-5.0, -7.0))


@pytest.mark.parametrize("name", NAMES)
def test_values_lie_in_the_declared_range_and_better_is_better(name):
    if name == "rouge2":  # needs two words
        good, bad = (Sample("?", f"x {s.answer}", f"x {s.reference}") for s in (GOOD, BAD))
    else:
        good, bad = GOOD, BAD
    each = scorer.create([name])[name]
    high, low = each.score(good).value, each.score(bad).value

    assert each.range[0] <= min(high, low)
    assert max(high, low) <= each.range[1] + 1e-9  # sacrebleu rounds 100 up in the last bits
    assert (high > low) == each.higher_is_better


@pytest.mark.parametrize("name", NAMES)
def test_the_aggregate_is_a_function_of_the_scores_alone(name):
    each = scorer.create([name])[name]
    text = '{"a": 7}' if name != "rouge2" else '{"a": 7, "b": 8}'
    scores = [
        each.score(Sample("?", answer, text, logprobs=(-1.0, -2.0)))
        for answer in (text, "no", text, "a 7")
    ]
    found = stats.interval(each, scores, draws=200)

    assert found.value == pytest.approx(each.aggregate(scores))
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_aggregate_is_an_error(name):
    with pytest.raises(EvaluationError):
        scorer.create([name])[name].aggregate([])
