"""What was written for one step's prompts, as flat arrays that survive a kill and cut into batches.

Knows nothing about models, rewards or losses. Legend: P prompts, A answers (in order of their
prompts), N answer tokens, end tokens included.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stead.core.lazy import lazy
from stead.data.tree import make_trees

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np = lazy("numpy", extra="data")
    torch = lazy("torch", extra="train")

Array = Any  # Any: a numpy array


@dataclass(slots=True)
class Written:
    """One answer: its ids with the end token, the sampler's log-probabilities, whether it ended."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool


@dataclass(frozen=True, slots=True)
class Rolled:
    """A micro-batch of prompts with answers, laid out as `data/pack.Batch`; see `data/tree`.

    `columns` are float32 [N] over the labels in order: views of the buffer, so what a loss writes
    into "old" is there in the next pass. `answer` int64 [N] counts answers from 0; `ended` bool,
    one per answer. `weight` is this part's share of the step's `whole`; `values` belong to the step.
    """

    tokens: Array
    labels: Array
    positions: Array
    starts: Array
    rows: tuple[int, ...]
    parents: tuple[int, ...]
    columns: dict[str, Array]
    answer: Array
    lengths: Array
    ended: Array
    weight: float
    whole: float
    step_tokens: int
    values: dict[str, float] = field(default_factory=dict)

    @property
    def per_token(self) -> float:
        """Turn a sum over tokens into what the loop's division makes the step's mean."""
        return self.whole / max(1, self.step_tokens)


@dataclass(slots=True)
class Buffer:
    """The answers of one step. Shapes: `columns` float32 [N] by name, `rows` [P], `owner` [A]."""

    rows: list[int]
    prompts: list[list[int]]
    answers: list[Written]
    owner: Array  # int64 [A]: which prompt an answer belongs to
    columns: dict[str, Array] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    rewards: list[float] = field(default_factory=list)  # [A]; only until `columns` are filled
    parts: dict[str, list[float]] = field(default_factory=dict)
    signs: dict[str, float] = field(default_factory=dict)

    @property
    def lengths(self) -> Array:
        """Tokens of each answer. Shapes: int64 [A]."""
        return np.array([len(a.ids) for a in self.answers], dtype=np.int64)

    @property
    def ends(self) -> Array:
        """Where each answer ends among the N tokens. Shapes: int64 [A]."""
        return np.cumsum(self.lengths)

    @property
    def ended(self) -> Array:
        """Which answers ended by themselves. Shapes: bool [A]."""
        return np.array([a.stopped for a in self.answers], dtype=bool)

    def spread(self, values: Array) -> Array:
        """Give every token its answer's value. Shapes: [A] → float32 [N]."""
        return np.repeat(np.asarray(values, dtype=np.float32), self.lengths)

    def tokens(self, answer: int) -> slice:
        """Return the place of one answer among the N tokens."""
        ends = self.ends
        return slice(int(ends[answer - 1]) if answer else 0, int(ends[answer]))

    def replaced(self, places: Sequence[int], other: "Buffer", group: int) -> "Buffer":
        """Return these answers with the prompts at `places` replaced by those of `other`, in order.

        Only before columns other than "sampled" are filled. `signs` are those of all answers written.
        """
        instead = {place: i for i, place in enumerate(places)}
        rows, prompts, answers, rewards = [], [], [], []
        parts: dict[str, list[float]] = {name: [] for name in self.parts}
        for place in range(len(self.rows)):
            source, at = (other, instead[place]) if place in instead else (self, place)
            one = slice(at * group, (at + 1) * group)
            rows.append(source.rows[at])
            prompts.append(source.prompts[at])
            answers += source.answers[one]
            rewards += source.rewards[one]
            for name, so_far in parts.items():
                so_far.extend(source.parts[name][one])
        sampled = np.array([x for a in answers for x in a.logprobs], dtype=np.float32)
        return Buffer(
            rows, prompts, answers, self.owner, {"sampled": sampled}, {}, rewards, parts, self.signs
        )

    def part(self, low: int, high: int) -> Rolled:
        """Lay out answers low to high (not included), each prompt once. Weights are to be set."""
        chosen = range(low, high)
        groups: dict[int, list[Any]] = {}
        for i in chosen:
            prompt = self.prompts[int(self.owner[i])]
            ids = np.array([*prompt, *self.answers[i].ids], dtype=np.int64)
            mask = np.zeros(len(ids), dtype=np.uint8)
            mask[len(prompt) :] = 1
            groups.setdefault(int(self.owner[i]), []).append((ids, mask))
        batch = make_trees(list(groups.values()), [self.rows[p] for p in groups])
        lengths = self.lengths[low:high]
        place = slice(self.tokens(low).start, self.tokens(high - 1).stop)
        return Rolled(
            batch.tokens, batch.labels, batch.positions, batch.starts, batch.rows, batch.parents,
            columns={name: column[place] for name, column in self.columns.items()},
            answer=np.repeat(np.arange(high - low), lengths), lengths=lengths,
            ended=self.ended[low:high], weight=0.0, whole=0.0, step_tokens=0,
        )  # fmt: skip

    def cuts(
        self, low: int, high: int, budget: int, lanes: int, together: int = 1
    ) -> list[tuple[int, int]]:
        """Share answers low to high among parts of about equal cost, each within `budget` tokens.

        At least one part per lane where there are answers enough, and a multiple of the lanes;
        `together` answers that follow one another stay in one part. Fewer prompts than lanes stay
        whole where they fit: each lane would compute a prompt of its own, which costs more than
        threads that wait for one another.
        """
        cost = self.lengths[low:high].reshape(-1, together).sum(axis=1)
        prompts = {int(self.owner[i]) for i in range(low, high)}
        total = int(cost.sum()) + sum(len(self.prompts[p]) for p in prompts)
        parts = min(-(-max(1, -(-total // budget)) // lanes) * lanes, len(cost))
        if len(prompts) < lanes and total <= budget:
            parts = 1
        ends = np.cumsum(cost)
        edges = [0]
        for i in range(1, parts):
            place = int(np.searchsorted(ends, ends[-1] * i / parts)) + 1
            edges.append(min(max(place, edges[-1] + 1), len(cost) - (parts - i)))
        edges = [low + e * together for e in (*edges, len(cost))]
        return list(pairwise(edges))

    def pack(self) -> "dict[str, torch.Tensor]":
        """Return everything as tensors, for a checkpoint."""
        flat = {
            "rows": np.array(self.rows, dtype=np.int64),
            "prompt_tokens": np.array([t for p in self.prompts for t in p], dtype=np.int64),
            "prompt_ends": np.cumsum([len(p) for p in self.prompts]),
            "answer_tokens": np.array([t for a in self.answers for t in a.ids], dtype=np.int64),
            "answer_ends": self.ends,
            "stopped": self.ended.astype(np.uint8),
            "owner": self.owner,
        }
        flat |= {f"column.{name}": column for name, column in self.columns.items()}
        return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in flat.items()}

    @classmethod
    def unpack(cls, tensors: "dict[str, torch.Tensor]", values: dict[str, float]) -> "Buffer":
        """Return what `pack` was given."""
        flat = {name: tensor.numpy() for name, tensor in tensors.items()}
        answers = [
            Written(tuple(map(int, ids)), (), bool(stopped))  # log-probabilities are a column
            for ids, stopped in zip(
                _split(flat["answer_tokens"], flat["answer_ends"]), flat["stopped"], strict=True
            )
        ]
        prompts = [list(map(int, p)) for p in _split(flat["prompt_tokens"], flat["prompt_ends"])]
        columns = {
            name.removeprefix("column."): column.copy()
            for name, column in flat.items()
            if name.startswith("column.")
        }
        rows = list(map(int, flat["rows"]))
        return cls(rows, prompts, answers, flat["owner"].copy(), columns, dict(values))


def _split(flat: Array, ends: Sequence[int]) -> list[Array]:
    starts = [0, *(int(e) for e in ends[:-1])]
    return [flat[a : int(b)] for a, b in zip(starts, ends, strict=True)]
