"""A trained reward model, read back from its folder: conversations or token rows in, numbers out.

Knows nothing about training or reinforcement learning. The folder is what the method `reward` left:
an adapter or a whole model, with `reward_head.safetensors` beside it. Legend: B rows, T tokens of a
batch, E hidden size.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stead.core.errors import ModelError
from stead.data.clean import Tally
from stead.data.examples import Encoder
from stead.data.pack import Batch, plan_batches
from stead.data.row import Row
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.hub.inspect import inspect
from stead.messages import Message
from stead.models.heads import reward_head
from stead.models.layers import lowrank
from stead.models.learner import Learner
from stead.models.load import Device, Dtype, load_model
from stead.models.writing.row import context_length
from stead.values import LoadedModel

_BATCH_TOKENS = 4096


class RewardModel:
    """Says how good an answer is: what the head reads from the answer's last trained token.

    Only differences between answers to one prompt have a meaning. Use from one thread at a time.
    """

    def __init__(self, loaded: LoadedModel, head: Tensor, folder: Path) -> None:
        self.loaded = loaded
        self.head = head.to(device=loaded.device, dtype=torch.float32)
        self._learner = Learner(loaded)
        loaded.model.eval()
        self._encoder = Encoder(
            TextTokenizer.open(folder), ChatTemplate.open(folder), max_length=context_length(loaded)
        )

    @classmethod
    def open(
        cls, folder: str | Path, *, dtype: Dtype = "auto", device: Device = "auto"
    ) -> "RewardModel":
        """Open a reward model by folder, run or name.

        Raises: ModelError("no-reward-head" | "adapter-mismatch" | "no-base") for a folder that the
        method `reward` did not make or that lacks its base, and what `load_model` raises.
        """
        found = inspect(folder, tokenizer=False)
        head = _head(found.path)
        if found.kind == "adapter" and found.base is None:
            raise ModelError("no-base", f"the base of the adapter {str(folder)!r} is not here")
        adapter = found.path if found.kind == "adapter" else None
        base = found.path if found.base is None else found.base
        loaded = load_model(base, dtype=dtype, device=device, adapter=adapter)
        if head.shape[1] != loaded.model.config.get_text_config().hidden_size:
            raise ModelError(
                "adapter-mismatch",
                f"the reward head of {str(found.path)!r} has {head.shape[1]} inputs, its model another size",
            )
        return cls(loaded, head, base)

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[float]:
        """Judge the last answer of each conversation, rendered as it was in training.

        Raises: DataError for a conversation without an answer.
        """
        rows = [
            Row("labelled", f"conversation {i + 1}", messages=tuple(turns), label=True)
            for i, turns in enumerate(conversations)
        ]
        found = [e.columns["tokens"] for e in self._encoder.encode(rows, "labelled", Tally("refuse"))]  # fmt: skip
        return self._read([one.ids for one in found], [one.mask.rindex(1) for one in found])

    def score_tokens(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Judge prompts with their answers as ids; the last id is the answer's last trained token."""
        return self._read(rows, [len(ids) - 1 for ids in rows])

    def _read(self, rows: Sequence[Sequence[int]], places: Sequence[int]) -> list[float]:
        """Return the head's number at one place of each row."""
        rewards = [0.0] * len(rows)
        lengths = np.array([len(ids) for ids in rows], dtype=np.int64)
        for batch in plan_batches(lengths, batch_tokens=_BATCH_TOKENS, seed=0, epoch=0, shuffle=False):  # fmt: skip
            starts = np.concatenate([[0], np.cumsum(lengths[batch])])
            index = torch.from_numpy(starts[:-1] + np.array([places[i] for i in batch]))
            with torch.no_grad(), self._learner.draw(0, 0, active=False):
                hidden_TE = self._learner.hidden(_flat([rows[i] for i in batch], starts))
                last_BE = hidden_TE.index_select(0, index.to(hidden_TE.device)).float()
                found = torch.nn.functional.linear(last_BE, self.head)[:, 0].tolist()
            for i, value in zip(batch, found, strict=True):
                rewards[i] = value
        return rewards

    def close(self) -> None:
        """Give the model back as it was loaded."""
        self._learner.close()


def _flat(rows: Sequence[Sequence[int]], starts: Any) -> Batch:  # Any: int array
    tokens = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in rows])
    positions = np.arange(len(tokens)) - np.repeat(starts[:-1], np.diff(starts))
    labels = np.full(len(tokens), -100, dtype=np.int64)
    return Batch(tokens, labels, positions, starts.astype(np.int32), tuple(range(len(rows))))


def _head(folder: Path) -> Tensor:
    path = reward_head(folder)
    weight = lowrank.read_tensors(path).get("weight")
    if weight is None or weight.ndim != 2 or weight.shape[0] != 1:
        raise ModelError("torn-weights", f"{str(path)!r} holds no head of shape [1, hidden size]")
    return weight
