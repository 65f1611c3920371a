"""Rows that share a beginning give what whole rows give, in every family and layer code."""

import numpy as np
import pytest
import torch
from tests.unit.models.test_fused import FAMILIES, build, gradients, learner

from stead.data.pack import Batch
from stead.data.tree import make_trees, shared_length, tree_length
from stead.models.attention import SegmentAttention, _by_segment
from stead.models.segments import Segments

PROMPTS = (9, 1, 9)  # two of one length: their answers are computed together
ANSWERS = ((4, 7), (3, 5), (2, 6, 3))


def groups() -> list[list[tuple[np.ndarray, np.ndarray]]]:
    draw = np.random.default_rng(3)
    found = []
    for prompt, answers in zip(PROMPTS, ANSWERS, strict=True):
        first = draw.integers(1, 90, prompt)
        found.append(
            [
                (
                    np.concatenate([first, draw.integers(1, 90, n)]),
                    np.array([0] * prompt + [1] * n),
                )
                for n in answers
            ]
        )
    return found


def whole_rows(trees: list[list[tuple[np.ndarray, np.ndarray]]]) -> Batch:
    return make_trees([[row] for group in trees for row in group], range(7))


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tree_gives_the_loss_and_gradients_of_whole_rows(family: str, fuse: bool) -> None:
    loss, found = gradients(learner(build(family), fuse=fuse), make_trees(groups(), range(3)))
    right, expected = gradients(learner(build(family), fuse=fuse), whole_rows(groups()))

    assert loss == pytest.approx(right, abs=1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-6, rtol=1e-4)


def test_a_tree_computes_a_shared_beginning_once() -> None:
    batch = make_trees(groups(), range(3))

    assert (
        len(batch.tokens)
        == sum(tree_length(g) for g in groups())
        < len(whole_rows(groups()).tokens)
    )
    assert [len(g) for g in groups()] == [2, 2, 3]
    assert batch.parents[:3] == (-1, 0, 0)  # the shared tokens, then both answers


def test_the_token_before_an_answer_belongs_to_each_answer() -> None:
    assert shared_length(groups()[0]) == 8  # of 9: the ninth predicts the first trained token
    assert shared_length([groups()[0][0]]) == 0


def test_spans_name_all_ancestors_root_first() -> None:
    found = list(Segments((0, 3, 5, 9), (-1, 0, 1)).spans())

    assert found[2] == (5, 9, ((0, 3), (3, 5)))


@pytest.mark.parametrize("window", [None, 200])
@pytest.mark.parametrize(
    "segments",
    [
        Segments((0, 700)),  # several blocks of queries
        Segments((0, 300, 640, 900), (-1, 0, 0), 20),  # two answers to one prompt, idle tokens
        Segments((0, 40, 80, 120, 160), (), 7),  # rows of one shape, gathered at once
        Segments((0, 90, 130, 170, 200, 700), (-1, 0, 0, 0, 1), 3),  # a shorter one, one of another
    ],
)
def test_attention_and_its_gradient_are_those_of_autograds_own_operations(
    segments: Segments, window: int | None
) -> None:
    draw = torch.Generator().manual_seed(0)
    T = segments.end + segments.idle
    q, k, v, grad = (torch.randn(h, T, 16, generator=draw) for h in (4, 2, 2, 4))
    wanted = [t.requires_grad_() for t in (q, k, v)]

    fast = SegmentAttention.apply(q, k, v, segments, 0.25, window)
    slow = _by_segment(q, k, v, segments, 0.25, window, None, 0.0)

    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=0)
    found, right = (torch.autograd.grad((x * grad).sum(), wanted) for x in (fast, slow))
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
