"""Reward model: a number for each answer, such that chosen answers get more than rejected ones.

Knows nothing about adapters or batches. The number is read from the last trained token of an answer
by a vector, the head. Legend: P pairs, E hidden size. Sources: Bradley–Terry arXiv:1706.03741 eq. 1;
margin arXiv:2307.09288 eq. 2; centering arXiv:2312.09244 eq. 2; the head's start arXiv:2009.01325
appendix B.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.core import files, seeds
from stead.core.lazy import lazy
from stead.models.heads import HEAD
from stead.training.method import Columns, Loss, Method, MethodConfig, Model, Store, Tools
from stead.training.teaching.preference import (
    COLUMNS,
    PairLengths,
    fact,
    judged_of,
    last_tokens,
    make_pairs,
    margins,
    pair_values,
)

if TYPE_CHECKING:
    import safetensors.torch as safetensors
    import torch
else:
    torch = lazy("torch", extra="train")
    safetensors = lazy("safetensors.torch", extra="train")


class RewardConfig(MethodConfig):
    """What is added to the plain comparison."""

    type: Literal["reward"] = "reward"
    use_margin: bool = Field(
        default=True, description="demand the difference that the column `margin` says, where it is"
    )
    centering: float = Field(
        default=0.0, ge=0, description="weight of (chosen + rejected)², which keeps rewards near 0"
    )


class Reward(Method):
    """Teach a model to score answers, from pairs.

    −log σ(chosen − rejected − margin) + centering·(chosen + rejected)².
    """

    config: RewardConfig
    kinds = ("preference",)
    has_logits = False
    columns = COLUMNS
    layout: ClassVar[Literal["rows", "trees", "views"]] = "trees"
    unit = "pairs"
    freezes_words: ClassVar[bool] = True
    default_lr: ClassVar[dict[str, float]] = {"lora": 1e-4, "full": 1e-5}
    head: "torch.nn.Parameter"

    def __init__(self, config: RewardConfig) -> None:
        super().__init__(config)
        self._lengths = PairLengths()
        self._margins: dict[str, Any] = {}  # Any: float32 [rows] by split

    def setup(self, tools: Tools) -> None:
        """Make the head; nothing is learnt about words, so an output layer of its own is frozen."""
        model = tools.loaded.model
        outputs, inputs = model.get_output_embeddings(), model.get_input_embeddings()
        if outputs.weight is not inputs.weight:
            outputs.requires_grad_(False)
        width = int(outputs.weight.shape[1])
        generator = torch.Generator().manual_seed(seeds.stream(tools.seed, 0, "reward_head"))
        start = torch.randn(1, width, generator=generator) * (width + 1) ** -0.5
        self.head = torch.nn.Parameter(start.to(tools.loaded.device))
        for store in (tools.train, tools.held_out):
            if store is not None:
                self._margins[store.split] = margins(store)

    def parameters(self) -> "dict[str, torch.nn.Parameter]":
        """Name the head."""
        return {"reward_head": self.head}

    def lengths(self, store: Store) -> Any:  # Any: int64 [rows]
        """Return each pair's tokens, what its answers share counted once."""
        return self._lengths.of(store)

    def flatten(self, store: Store, rows: Sequence[int]) -> Columns:
        """Lay out pairs with their margins."""
        return {"pairs": make_pairs(store, rows, {"margin": self._margins[store.split]})}

    def weight(self, batch: Columns) -> float:
        """Count the pairs."""
        return float(len(judged_of(batch, "pairs").rows))

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum the loss over pairs."""
        pairs = judged_of(batch, "pairs")
        hidden = model.hidden(pairs)
        places = torch.from_numpy(last_tokens(pairs)).to(hidden.device)
        last = hidden.index_select(0, places).to(self.head.dtype)
        rewards = torch.nn.functional.linear(last, self.head).view(-1, 2)
        difference = rewards[:, 0] - rewards[:, 1]
        if self.config.use_margin:
            difference = difference - fact(pairs, "margin", difference)
        losses = -torch.nn.functional.logsigmoid(difference)
        if self.config.centering:
            losses = losses + self.config.centering * rewards.sum(1) ** 2
        return Loss(losses.sum(), pair_values(rewards))

    def save(self, folder: Path) -> None:
        """Write the head; `models/reward` reads it. Files: reward_head.safetensors, .json."""
        weight = self.head.detach().cpu().contiguous()
        safetensors.save_file({"weight": weight}, folder / HEAD)
        about = {"version": 1, "hidden_size": weight.shape[1], "token": "last-trained"}
        files.write_json(folder / "reward_head.json", about)
