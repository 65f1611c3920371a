"""Speed of any Backend: an answer that ends at once is asked for again, not for ever."""

import itertools

import pytest

from stead.core.errors import BackendError
from stead.evaluation.speed import measure
from stead.messages import Chunk


class Short:
    """Writes one piece for the first `short` requests, four for the others."""

    def __init__(self, short):
        self.short, self.seeds = short, []

    async def stream(self, request):
        self.seeds.append(request.sampling.seed)
        for _ in range(1 if len(self.seeds) <= self.short else 4):
            yield Chunk(id="c", model="m", created=0, text="a ")


def clock():
    ticks = itertools.count()
    return lambda: float(next(ticks))


async def test_another_seed_is_tried_when_an_answer_ends_at_once():
    backend = Short(2)
    found = await measure(backend, rounds=2, clock=clock())
    assert found.tokens == 8
    assert found.tokens_per_s == 1.0
    assert backend.seeds[:3] == [0, 1000, 2000]


async def test_a_model_that_writes_nothing_is_told_of():
    with pytest.raises(BackendError, match="nothing to time"):
        await measure(Short(99), rounds=1, clock=clock())
