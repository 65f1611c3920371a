import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stead.core.errors import ConfigError, EvaluationError
from stead.scoring import scorer
from stead.scoring.function import from_function
from stead.scoring.scorer import Sample

WORDS = st.lists(st.sampled_from(["red", "green", "blue", "one", "two"]), min_size=1, max_size=12)


def score(metric, answer, reference, **more):
    return scorer.create([metric])[metric].score(Sample("?", answer, reference, **more)).value


@pytest.mark.parametrize(
    ("metric", "answer", "reference", "value"),
    [
        ("exact_match", " yes\n", "yes", 1),
        ("exact_match", "Yes", "yes", 0),
        ("exact_match:squad", "The Yes!", "yes", 1),
        ("accuracy", "Positive.\nBecause I say so", "positive", 1),
        ("accuracy", "not positive", "positive", 0),
        ("accuracy", "", "positive", 0),
        ("contains", "It is  PARIS, of course", "paris", 1),
        ("contains", "London", "paris", 0),
        ("json_match", '{"b": 1.0, "a": [true]}', '{"a": [true], "b": 1}', 1),
        ("json_match", '{"a": 1}', '{"a": true}', 0),
        ("json_match", 'Sure: {"a": 1}', '{"a": 1}', 0),
        ("number_match", "so 3 * 4 = 12. The answer is 1,012.0", "reason 5\n#### 1012", 1),
        ("number_match", "#### 7 apples, 3 pears", "#### 7", 1),
        ("number_match", "no idea", "#### 7", 0),
        ("number_match", "-5", "5", 0),
        ("f1", "the cat sat", "a cat sat down", 0.8),
        ("f1", "", "a the", 1),
        ("f1", "", "word", 0),
    ],
)
def test_known_answers_get_their_value(metric, answer, reference, value):
    assert score(metric, answer, reference) == pytest.approx(value, abs=1e-12)


@pytest.mark.spec("002-023")
def test_f1_counts_repeated_tokens():
    # precision 1/3, recall 1: a set of tokens would give 1
    assert score("f1", "yes yes yes", "yes") == pytest.approx(0.5)


@given(WORDS, WORDS)
def test_f1_is_symmetric_and_bounded(left, right):
    forth = score("f1", " ".join(left), " ".join(right))
    back = score("f1", " ".join(right), " ".join(left))

    assert forth == back
    assert 0 <= forth <= 1


@given(WORDS)
def test_a_text_matches_itself_under_every_metric_that_compares_answers(words):
    text = " ".join([*words, "7"])
    made = scorer.create(["exact_match", "f1", "rouge1", "rougeL", "accuracy", "contains", "chrf"])
    for name, each in made.items():
        assert each.score(Sample("?", text, text)).value == pytest.approx(each.range[1]), name


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=8), st.randoms())
def test_the_order_of_samples_does_not_change_an_aggregate(pairs, random):
    for each in scorer.create(["bleu", "f1", "rougeL"]).values():
        scores = [each.score(Sample("?", " ".join(a), " ".join(b))) for a, b in pairs]
        mixed = scores[:]
        random.shuffle(mixed)
        assert each.aggregate(mixed) == pytest.approx(each.aggregate(scores))


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        ("rouge1", "你好，世界"),
        ("rouge2", "one"),
        ("rougeL", "?!"),
        ("bleu", " "),
        ("chrf", ""),
        ("json_match", "{"),
        ("number_match", "seven"),
        ("accuracy", " . "),
        ("contains", ""),
        ("perplexity", "text without log-probabilities"),
    ],
)
@pytest.mark.spec("002-023")
def test_what_cannot_be_computed_raises_and_is_never_a_number(metric, reference):
    with pytest.raises(EvaluationError, match=r"rows\.jsonl:3") as caught:
        score(metric, "7", reference, meta={"where": "rows.jsonl:3"})
    assert caught.value.code == "metric-failed"


@pytest.mark.spec("003-079")
def test_perplexity_is_exp_of_the_mean_token_loss_over_the_corpus():
    each = scorer.create(["perplexity"])["perplexity"]
    long = each.score(Sample("", "", "", logprobs=(-1.0, -2.0, -3.0)))
    short = each.score(Sample("", "", "", logprobs=(-6.0,)))

    assert long.value == pytest.approx(math.exp(2))
    assert each.aggregate([long, short]) == pytest.approx(math.exp(12 / 4))
    assert not each.higher_is_better


def test_a_perplexity_without_end_is_infinite_and_nan_is_refused():
    each = scorer.create(["perplexity"])["perplexity"]

    assert each.score(Sample("", "", "", logprobs=(-800.0,))).value == math.inf
    with pytest.raises(EvaluationError):
        each.score(Sample("", "", "", logprobs=(math.nan,)))


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'rouge1'"):
        scorer.create(["rouge11"])
    with pytest.raises(ConfigError, match="no options"):
        scorer.create(["bleu:fast"])
    with pytest.raises(ConfigError, match="'strict' and 'squad'"):
        scorer.create(["exact_match:loose"])
    with pytest.raises(ConfigError):
        scorer.create([])


def test_rouge_stands_for_three_metrics_once_each():
    assert list(scorer.create(["rouge1", "rouge"])) == ["rouge1", "rouge2", "rougeL"]


@pytest.mark.spec("003-066")
def test_a_metric_of_ones_own_is_registered_and_used_like_a_built_in():
    def longest(predictions, references):
        return float(max(map(len, predictions)))

    scorer.scorers().register("longest", from_function(longest), override=True)
    each = scorer.create(["longest"])["longest"]
    scores = [each.score(Sample("", text, "r")) for text in ("a", "abc", "ab")]

    assert each.aggregate(scores) == 3
    assert each.aggregate(scores[::2]) == 2


def test_an_error_inside_a_metric_of_ones_own_is_typed():
    each = from_function(lambda predictions, references: 1 / 0)()
    with pytest.raises(EvaluationError, match="ZeroDivisionError"):
        each.score(Sample("", "a", "b"))
