"""What methods that learn from judged answers share: pairs as trees, sums per answer, their numbers.

Knows nothing about losses. Legend: A answers of a micro-batch, P pairs (A = 2·P, each pair's chosen
answer first), N labelled tokens, T tokens. Light: torch is loaded on first use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from stead.core.lazy import lazy
from stead.data.pack import Batch, read_scalars
from stead.data.tree import Masked, make_trees, tree_lengths
from stead.training.method import Columns, Model, Store

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np, torch = lazy("numpy", extra="data"), lazy("torch", extra="train")

COLUMNS = ("chosen", "rejected")
_IGNORED = -100


@dataclass(frozen=True, slots=True)
class Judged(Batch):
    """A flattened batch of answers and the numbers that go with them.

    `facts`: name → float32 array with one entry per row of the store, or one number for all.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)  # Any: float32 arrays


@dataclass(frozen=True, slots=True)
class Sums:
    """What a model says about each answer: the sum over its trained tokens, and their number.

    Shapes: both [A], float64 where the device has it: answers differ by little of their sums.
    `log_probs` has a gradient. Units: nats.
    """

    log_probs: "torch.Tensor"
    tokens: "torch.Tensor"

    @property
    def means(self) -> "torch.Tensor":
        """Log-probability per token. Shapes: [A]."""
        return self.log_probs / self.tokens


class PairLengths:
    """The tokens of each pair with its shared beginning counted once; computed once per split."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}  # Any: int arrays

    def of(self, store: Store) -> Any:
        """Return the lengths of a split's pairs, int64 [rows]."""
        if store.split not in self._found:
            self._found[store.split] = tree_lengths([store.stores[name] for name in COLUMNS])
        return self._found[store.split]


def make_pairs(store: Store, rows: Sequence[int], facts: Mapping[str, Any]) -> Judged:
    """Lay out pairs, each a tree of what its two answers share and the answers.

    `facts` are arrays over all rows of the split; the batch keeps those of `rows`.
    """
    columns = [store.stores[name] for name in COLUMNS]
    groups = [[(c.tokens(row), c.mask(row)) for c in columns] for row in map(int, rows)]
    return judged(groups, rows, facts)


def judged(
    groups: Sequence[Sequence[Masked]], rows: Sequence[int], facts: Mapping[str, Any]
) -> Judged:
    """Lay out groups of answers as trees, with the facts of their rows."""
    flat = make_trees(groups, rows)
    index = np.asarray(rows, dtype=np.int64)
    kept = {name: np.asarray(values)[index] for name, values in facts.items()}
    return Judged(
        flat.tokens, flat.labels, flat.positions, flat.starts, flat.rows, flat.parents, kept
    )


def judged_of(columns: Columns, name: str) -> Judged:
    """Return a column that `judged` or `make_pairs` made."""
    return cast(Judged, columns[name])


def fact(batch: Judged, name: str, like: "torch.Tensor") -> "torch.Tensor":
    """Return one of the batch's numbers as a tensor beside `like`, in its type."""
    values = np.asarray(batch.facts[name])
    return torch.from_numpy(np.array(values)).to(device=like.device, dtype=like.dtype)


def answers(batch: Judged) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Return where each answer's labels begin among all labels, and their end; int64 [A], [A].

    An answer is a sequence that no other one continues, so the labels lie answer by answer.
    """
    starts = np.asarray(batch.starts, dtype=np.int64)
    parents = np.asarray(batch.parents, dtype=np.int64)
    leaves = np.setdiff1d(np.arange(len(starts) - 1), parents)
    places = label_places(batch)
    return np.searchsorted(places, starts[leaves]), np.searchsorted(places, starts[leaves + 1])


def label_places(batch: Judged) -> "np.ndarray[Any, Any]":
    """Return where labels lie in the batch; int64 [N]."""
    return np.flatnonzero(np.asarray(batch.labels) != _IGNORED)


def answer_sums(model: Model, batch: Judged) -> Sums:
    """Add up every answer of a batch; each sum is over its own slice, so its order never changes."""
    log_probs, _ = model.label_log_probs(batch)
    begins, ends = answers(batch)
    sizes = torch.from_numpy(ends - begins).to(log_probs.device)
    wide = log_probs if log_probs.device.type == "mps" else log_probs.double()  # MPS has no float64
    return Sums(torch.segment_reduce(wide, "sum", lengths=sizes), sizes.to(wide.dtype))


def last_tokens(batch: Judged) -> "np.ndarray[Any, Any]":
    """Return the place of each answer's last trained token; int64 [A]."""
    _, ends = answers(batch)
    return label_places(batch)[ends - 1] + 1  # the label at t is token t + 1


def margins(store: Store) -> Any:  # Any: float32 [rows]
    """Return by how much each chosen answer is better, as the data say; 0 where they do not."""
    return read_scalars(store.prepared, store.split, "margin")


def pair_values(rewards_P2: "torch.Tensor") -> dict[str, float]:
    """Return what is logged about rewards, summed over pairs. Shapes: [P, 2]."""
    rewards = rewards_P2.detach().double()
    chosen, rejected = rewards.unbind(1)
    return {
        "rewards/chosen": float(chosen.sum()),
        "rewards/rejected": float(rejected.sum()),
        "rewards/margins": float((chosen - rejected).sum()),
        "rewards/accuracies": float((chosen > rejected).double().sum()),
    }
