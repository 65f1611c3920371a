import pytest
import torch
import transformers

from stead.messages import Sampling
from stead.models.writing.sample import Rule, candidates, pick


def rule(**fields):
    return Rule.of(Sampling(**({"seed": 0} | fields)))


def logits(seed=0, size=50):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("fields", "warpers"),
    [
        ({"top_k": 7}, [("TopKLogitsWarper", 7)]),
        ({"top_p": 0.6}, [("TopPLogitsWarper", 0.6)]),
        ({"min_p": 0.2}, [("MinPLogitsWarper", 0.2)]),
        (
            {"temperature": 0.5, "top_k": 20, "top_p": 0.9},
            [("TemperatureLogitsWarper", 0.5), ("TopKLogitsWarper", 20), ("TopPLogitsWarper", 0.9)],
        ),
    ],
)
def test_the_filters_keep_what_transformers_keeps(fields, warpers):
    scores = logits()[None].clone()
    for name, value in warpers:
        scores = getattr(transformers, name)(value)(torch.tensor([[0]]), scores)
    expected = torch.softmax(scores[0].double(), -1)
    weights = torch.softmax(logits()[None] / fields.get("temperature", 1.0), -1)
    filters = {k: v for k, v in fields.items() if k != "temperature"}
    (probs,), (tokens,) = candidates(weights, **filters)
    probs, tokens = probs[probs > 0], tokens[probs > 0]

    assert set(tokens.tolist()) == set(torch.nonzero(expected).flatten().tolist())
    assert (probs / probs.sum()).tolist() == pytest.approx(expected[tokens].tolist(), abs=1e-6)


def test_draws_follow_the_distribution():
    sampling = Sampling(seed=3, temperature=1.0)
    rows = 4000
    drawn = pick(
        logits(size=4).expand(rows, 4), [Rule.of(sampling, choice=i) for i in range(rows)],
        [[1]] * rows, [[]] * rows,
    )  # fmt: skip
    share = torch.bincount(torch.tensor([d.id for d in drawn]), minlength=4) / rows

    # 4,000 draws: three standard errors are 0.024 at most
    assert share.tolist() == pytest.approx(torch.softmax(logits(size=4), 0).tolist(), abs=0.024)


def test_a_seed_repeats_its_draws_and_without_one_they_differ():
    many = [pick(logits()[None], [rule(seed=9)], [[1]], [[2] * n])[0].id for n in range(20)]
    again = [pick(logits()[None], [rule(seed=9)], [[1]], [[2] * n])[0].id for n in range(20)]
    free = {Rule.of(Sampling()).seed for _ in range(5)}

    assert many == again
    assert len(set(many)) > 1
    assert len(free) == 5


def test_temperature_zero_is_the_likeliest_token_also_under_a_bias():
    best = int(logits().argmax())
    biased = rule(temperature=0.0, logit_bias={str((best + 1) % 50): 100.0})

    assert pick(logits()[None], [rule(temperature=0.0)], [[1]], [[]])[0].id == best
    assert pick(logits()[None], [biased], [[1]], [[]])[0].id == (best + 1) % 50


def test_penalties_push_down_what_was_written():
    best = int(logits().argmax())
    for fields in (
        {"frequency_penalty": 50.0},
        {"presence_penalty": 50.0},
        {"repeat_penalty": 1e6},
    ):
        found = pick(logits()[None], [rule(temperature=0.0, **fields)], [[1]], [[best]])
        assert found[0].id != best
