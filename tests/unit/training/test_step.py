"""One optimizer step's parts: what lanes hand on is not kept."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from stead.training.stepping.step import Stepper


class Gradients:
    """Stands for a part's gradients, which are as large as the trained weights."""


def test_a_part_that_was_added_is_not_kept() -> None:
    made = []

    def work(index: int) -> Gradients:
        part = Gradients()
        made.append(weakref.ref(part))
        return part

    alive = []
    with ThreadPoolExecutor(1) as pool:
        for part in Stepper._map(SimpleNamespace(_pool=pool), work, range(6)):
            made_so_far = list(made)
            del part
            gc.collect()
            alive.append(sum(one() is not None for one in made_so_far))

    assert len(alive) == 6
    assert alive[-1] == 0
