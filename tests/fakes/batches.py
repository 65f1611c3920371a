"""A flattened micro-batch with numbers from a seed."""

from collections.abc import Sequence

import numpy as np

from stead.data.pack import Batch


def flat(lengths: Sequence[int], vocabulary: int = 97, seed: int = 1) -> Batch:
    """Return rows of these lengths, two labels of three kept, the last of each row dropped."""
    draw = np.random.default_rng(seed)
    total = sum(lengths)
    labels = draw.integers(0, vocabulary, total)
    labels[::3] = -100
    starts = np.cumsum([0, *lengths])
    labels[starts[1:] - 1] = -100
    positions = np.concatenate([np.arange(n) for n in lengths])
    return Batch(
        draw.integers(0, vocabulary, total), labels, positions, starts.astype(np.int32), tuple(range(len(lengths)))
    )  # fmt: skip
