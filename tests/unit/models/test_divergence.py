"""Distances of distributions against torch.distributions and finite differences; chunks; heads."""

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from stead.models.divergence import Distance, chunked_sum, divergence
from stead.models.loss import Head
from stead.models.measure import Measure

N, E, V = 7, 5, 11


def logits(seed: int) -> torch.Tensor:
    return torch.randn(N, V, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_divergences_are_those_of_torch_distributions(temperature: float) -> None:
    student, teacher = logits(1), logits(2)
    q = Categorical(logits=student / temperature)
    p = Categorical(logits=teacher / temperature)
    m = Categorical(probs=0.3 * p.probs + 0.7 * q.probs)
    expected = {
        "forward_kl": kl_divergence(p, q),
        "reverse_kl": kl_divergence(q, p),
        "jsd": 0.3 * kl_divergence(p, m) + 0.7 * kl_divergence(q, m),
    }

    for kind, value in expected.items():
        found = divergence(student, teacher, Measure(kind, temperature, beta=0.3))  # type: ignore[arg-type]
        torch.testing.assert_close(found, value)


def test_a_model_is_no_distance_from_itself_and_jsd_is_bounded() -> None:
    student, teacher = logits(1), logits(2)

    for kind in ("forward_kl", "reverse_kl", "jsd"):
        found = divergence(student, student, Measure(kind))  # type: ignore[arg-type]
        torch.testing.assert_close(found, torch.zeros(N, dtype=torch.float64))
    assert bool((divergence(student * 50, teacher * 50, Measure("jsd")) <= 0.6932).all())


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
def test_top_k_is_a_lower_bound_that_is_met_by_the_whole_vocabulary(kind: str) -> None:
    student, teacher = logits(1), logits(2)
    whole = divergence(student, teacher, Measure(kind))  # type: ignore[arg-type]

    found = [divergence(student, teacher, Measure(kind, top_k=k)) for k in (1, 4, V)]  # type: ignore[arg-type]

    assert bool((found[0] <= found[1] + 1e-9).all())
    assert bool((found[1] <= whole + 1e-9).all())
    torch.testing.assert_close(found[2], whole)


def test_top_k_keeps_the_teachers_tokens_and_one_more_outcome() -> None:
    student, teacher = logits(1), logits(2)
    p, q = teacher.softmax(-1), student.softmax(-1)
    index = p.topk(3, -1).indices
    p3, q3 = p.gather(1, index), q.gather(1, index)
    lumped = [torch.cat((x, 1 - x.sum(-1, keepdim=True)), -1) for x in (p3, q3)]

    found = divergence(student, teacher, Measure("forward_kl", top_k=3))

    expected = kl_divergence(Categorical(probs=lumped[0]), Categorical(probs=lumped[1]))
    torch.testing.assert_close(found, expected)


def parts(seed: int = 0) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    make = lambda *shape: torch.randn(*shape, generator=draw)  # noqa: E731
    return make(N, E), make(V, E), make(V), make(N, E + 1), make(V, E + 1)


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("chunk", [2, 64])
@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
def test_chunks_give_the_value_and_gradients_of_the_whole(
    kind: str, chunk: int, softcap: float | None
) -> None:
    hidden, weight, bias, taught, table = parts()
    labels = torch.arange(N)
    measure = Measure(kind, 2.0, alpha=0.3, top_k=6)  # type: ignore[arg-type]
    leaves = [t.clone().requires_grad_() for t in (hidden, weight, bias)]
    distance = Distance(measure, labels, taught, Head(table), V)

    total = chunked_sum(leaves[0], Head(leaves[1], leaves[2], softcap=softcap), distance, chunk)
    found = torch.autograd.grad(2 * total, leaves)

    again = [t.clone().requires_grad_() for t in (hidden, weight, bias)]
    scores = Head(again[1], again[2], softcap=softcap).logits(again[0])
    apart = divergence(scores, taught @ table.t(), measure).sum()
    ce = torch.nn.functional.cross_entropy(scores, labels, reduction="sum")
    whole = 0.3 * ce + 0.7 * 4.0 * apart
    assert float(total.detach()) == pytest.approx(float(whole.detach()), rel=1e-5)
    assert distance.divergence == pytest.approx(float(apart.detach()), rel=1e-5)
    assert distance.cross_entropy == pytest.approx(float(ce.detach()), rel=1e-5)
    for one, two in zip(found, torch.autograd.grad(2 * whole, again), strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)  # float32 sums of ~60 terms


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
def test_gradients_are_finite_differences(kind: str) -> None:
    student, teacher = logits(1)[:2].requires_grad_(), logits(2)[:2]

    assert torch.autograd.gradcheck(
        lambda s: divergence(s, teacher, Measure(kind, 1.5, top_k=5)),  # type: ignore[arg-type]
        (student,),
    )


def test_nothing_is_kept_where_nothing_is_trained() -> None:
    hidden, weight, _, taught, table = parts()
    distance = Distance(Measure(), torch.arange(N), taught, Head(table), V)

    total = chunked_sum(hidden, Head(weight), distance, 3)

    assert not total.requires_grad
