"""Prepared pairs and labelled answers on disk, from seeds, and the slow way to judge an answer."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stead.core import manifest
from stead.values import PreparedData

Row = tuple[list[int], list[int]]
"""Tokens and mask."""


def pairs(count: int, seed: int = 0, vocabulary: int = 300) -> list[tuple[Row, Row]]:
    """Return chosen and rejected rows of one prompt; every third pair begins its answers alike."""
    draw = random.Random(seed)

    def some(low: int, high: int) -> list[int]:
        return [draw.randrange(5, vocabulary) for _ in range(draw.randrange(low, high))]

    made = []
    for i in range(count):
        prompt, begun = some(2, 9), some(1, 4) if i % 3 == 0 else []
        answers = [begun + some(2, 8) for _ in range(2)]
        made.append(tuple((prompt + a, [0] * len(prompt) + [1] * len(a)) for a in answers))
    return made


def labelled(count: int, seed: int = 0, vocabulary: int = 300) -> tuple[list[Row], list[float]]:
    """Return rows and labels, good and bad in turn."""
    rows = [one for pair in pairs((count + 1) // 2, seed, vocabulary) for one in pair][:count]
    return rows, [float(i % 2 == 0) for i in range(count)]


def write(
    path: Path, kind: str, splits: dict[str, dict[str, Sequence[Row]]],
    scalars: dict[str, dict[str, Sequence[float]]],
) -> PreparedData:  # fmt: skip
    """Write columns and scalars of each split in the layout of `data/prepare`."""

    def fill(folder: Path) -> None:
        for split, columns in splits.items():
            for name, rows in columns.items():
                head = f"{folder}/{split}.{name}"
                np.array([x for t, _ in rows for x in t], dtype="<u4").tofile(f"{head}.tokens.bin")
                np.array([x for _, m in rows for x in m], dtype="u1").tofile(f"{head}.mask.bin")
                ends = np.cumsum([0, *(len(t) for t, _ in rows)])
                ends.astype("<i8").tofile(f"{head}.offsets.bin")
            for name, values in scalars[split].items():
                np.array(values, dtype="<f4").tofile(f"{folder}/{split}.{name}.f32.bin")

    counts = {s: len(next(iter(c.values()))) for s, c in splits.items()}
    manifest.commit(path, "prepared-data", fill, {"kind": kind, "splits": counts})
    return PreparedData.open(path)


def prepared_pairs(
    path: Path, train: Sequence[Any], held_out: Sequence[Any] = (), margins: Any = None
) -> PreparedData:
    """Write preference data; `margins` of the training rows, else 0."""
    made, scalars = {}, {}
    for split, rows in (("train", train), ("eval", held_out)):
        made[split] = {"chosen": [c for c, _ in rows], "rejected": [r for _, r in rows]}
        known = margins if split == "train" and margins is not None else [0.0] * len(rows)
        scalars[split] = {"margin": known}
    return write(path, "preference", made, scalars)


def prepared_labelled(
    path: Path, train: tuple[Sequence[Row], Sequence[float]],
    held_out: tuple[Sequence[Row], Sequence[float]] = ((), ()),
) -> PreparedData:  # fmt: skip
    """Write labelled answers."""
    both = {"train": train, "eval": held_out}
    return write(
        path, "labelled", {s: {"tokens": rows} for s, (rows, _) in both.items()},
        {s: {"label": labels} for s, (_, labels) in both.items()},
    )  # fmt: skip


def slow_log_prob(model: Any, row: Row) -> tuple[Any, int]:
    """Return an answer's summed log-probability and length, by transformers alone, one row."""
    import torch

    ids = torch.tensor(row[0])
    logits = model(input_ids=ids[None]).logits[0, :-1].float()
    found = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
    mask = torch.tensor(row[1][1:]) == 1
    return found[mask].sum(), int(mask.sum())
