"""Planning the batches of very many rows."""

import sys

import numpy as np

from stead.data.pack import plan_batches


def test_a_million_rows_are_planned_in_few_operations() -> None:
    """Work per row is vectorized: the plan makes a small number of Python calls per batch."""
    lengths = np.random.default_rng(0).integers(20, 400, 50_000).astype(np.int32)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        batches = plan_batches(lengths, batch_tokens=2048, seed=1, epoch=0)
    finally:
        sys.setprofile(None)

    assert sum(len(b) for b in batches) == 50_000
    assert calls < 12 * len(batches)
