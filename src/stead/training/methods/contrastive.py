"""Contrastive learning of text vectors: views of one text near each other, other texts far away.

Knows nothing about adapters or saving weights. Sources: SimCSE, arXiv:2104.08821 eq. 1 (two dropout
views) and eq. 5 (pairs with hard negatives); InfoNCE, arXiv:1807.03748 eq. 4. Legend: P texts of a
micro-batch, S rows of it (2·P, or 3·P with negatives), E hidden size.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.config.run import RunConfig
from stead.core import files
from stead.core.errors import ConfigError
from stead.core.lazy import lazy
from stead.data.tokenizer import TextTokenizer
from stead.models.flat import FlatBatch
from stead.planning.facts import DataFacts, ModelFacts
from stead.training.method import Columns, Loss, Method, MethodConfig, Model, Store, Tools
from stead.training.teaching.views import ViewsOf, lay_out

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", extra="train")

EMBEDDING = "embedding.json"  # read by `models/writing/likelihood.embed`
_NAMES = {2: "pairs", 3: "triples"}  # views of a text → the micro-batch's column


class ContrastiveConfig(MethodConfig):
    """How vectors are made of hidden states, and how sharply they are compared.

    A micro-batch is compared within itself: `trainer.batch_rows` is the number of texts that compete.
    """

    type: Literal["contrastive"] = "contrastive"
    temperature: float = Field(
        default=0.05, gt=0, le=10, description="similarities are divided by it"
    )
    pooling: Literal["mean", "last"] = Field(
        default="mean",
        description="vector of a text: the mean of its tokens, or its last one; the first of a causal model has seen nothing",
    )
    both_ways: bool = Field(
        default=False, description="let positives choose their anchors too, as CLIP does"
    )
    max_length: int = Field(default=256, ge=2, description="tokens of each text that are looked at")

    def remarks(self, config: RunConfig, model: ModelFacts, data: DataFacts) -> tuple[str, ...]:
        """Tell that two views begin equal where a fresh adapter's dropout is all they differ by.

        What LoRA adds is 0 in the beginning, and so is the dropout's part of it.
        """
        own = any("drop" in k and isinstance(v, float) and v > 0 for k, v in getattr(model, "config", {}).items())  # fmt: skip
        fresh = getattr(config.adapter, "dropout", 0) > 0 and not str(
            getattr(config.adapter, "init", "")
        ).startswith("pissa")
        if data.kind != "text" or own or config.trainer.neftune_alpha or not fresh:
            return ()
        return (
            f"the two views of a text begin equal: adapter.dropout={config.adapter.dropout:g} acts on "  # type: ignore[attr-defined]
            "what the adapter adds, which is 0 at first, and the model has no dropout of its own; "
            "-s trainer.neftune_alpha=5 makes them differ from the first step",
        )


class Contrastive(Method):
    """Learn vectors of texts: what belongs together comes close.


    InfoNCE over the texts of a micro-batch.
    Rows of text: two views of each, by dropout. Conversations: question and answer. Preferences: the
    rejected answers are hard negatives. Equal texts do not compete.
    """

    config: ContrastiveConfig
    kinds = ("messages", "preference", "text")
    has_logits = False
    columns = ("tokens",)
    layout: ClassVar[Literal["rows", "trees", "views"]] = "views"
    takes_as_is: ClassVar[bool] = True
    separable: ClassVar[bool] = False  # the rows of a micro-batch are one another's negatives
    default_lr: ClassVar[dict[str, float]] = {"lora": 1e-4, "full": 3e-5}  # SimCSE, appendix A
    unit: ClassVar[str] = "texts"

    _views: dict[str, ViewsOf]

    def columns_of(self, kind: str) -> tuple[str, ...]:
        """Return the columns of a kind of rows; texts are read from the rows themselves."""
        return ("chosen", "rejected") if kind == "preference" else ("tokens",)

    def setup(self, tools: Tools) -> None:
        """Open the texts. Raises: ConfigError("no-dropout") when two views would be the same."""
        tokenizer = TextTokenizer.open(tools.loaded.folder)
        stores = [s for s in (tools.train, tools.held_out) if s is not None]
        if tools.train.prepared.kind == "text" and not _differs(tools):
            raise ConfigError(
                "no-dropout",
                "two views of a text differ by dropout alone, and this run has none "
                "(adapter.dropout, the model's own, trainer.neftune_alpha)",
                hint="stead train RECIPE --set trainer.neftune_alpha=5",
            )
        self._views = {s.split: ViewsOf(s, tokenizer, self.config.max_length) for s in stores}

    def lengths(self, store: Store) -> Any:  # Any: int array
        """Return the tokens of each row's views together."""
        return self._views[store.split].lengths()

    def flatten(self, store: Store, rows: Sequence[int]) -> Columns:
        """Lay out the views of these rows."""
        views = self._views[store.split].of(rows)
        return {_NAMES[len(views[0])]: lay_out(views, rows)}

    def gather(self, tools: Tools, step: int, rows: Sequence[Sequence[int]]) -> list[Columns]:
        """Return whole micro-batches: cut for lanes, they would have other negatives."""
        return [self.flatten(tools.train, part) for part in rows]

    def weight(self, batch: Columns) -> float:
        """Count the anchors."""
        ((name, flat),) = batch.items()
        return float(_texts(name, flat))

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum over anchors the cross-entropy of choosing one's own positive."""
        ((name, flat),) = batch.items()
        P = _texts(name, flat)
        vectors_SE = torch.nn.functional.normalize(self._pool(model.hidden(flat), flat), dim=-1)
        anchors, others = vectors_SE[:P], vectors_SE[P:]
        alike = _alike(flat, P).to(vectors_SE.device)
        scores = (anchors @ others.t() / self.config.temperature).masked_fill(alike, -torch.inf)
        own = torch.arange(P, device=scores.device)
        total = torch.nn.functional.cross_entropy(scores, own, reduction="sum")
        if self.config.both_ways:
            back = scores[:, :P].t()
            total = (total + torch.nn.functional.cross_entropy(back, own, reduction="sum")) / 2
        found = scores.detach()
        right = (found.argmax(1) == own).sum()
        similar = found[own, own].sum() * self.config.temperature
        return Loss(total, {"accuracy": float(right), "similarity": float(similar)})

    def _pool(self, hidden_TE: "torch.Tensor", flat: FlatBatch) -> "torch.Tensor":
        """Return one vector per row, float32. Shapes: [T, E] → [S, E]."""
        ends = torch.as_tensor(flat.starts).to(hidden_TE.device).long()
        if self.config.pooling == "last":
            return hidden_TE.index_select(0, ends[1:] - 1).float()
        sizes = ends.diff()
        row = torch.repeat_interleave(torch.arange(len(sizes), device=ends.device), sizes)
        sums = hidden_TE.new_zeros(len(sizes), hidden_TE.shape[1], dtype=torch.float32)
        return sums.index_add(0, row, hidden_TE.float()) / sizes[:, None]

    def save(self, folder: Path) -> None:
        """Say beside the weights how vectors are made, so that they are made so when asked for."""
        made = {"pooling": self.config.pooling, "normalized": True}
        files.write_json(folder / EMBEDDING, made)


def _texts(name: str, flat: FlatBatch) -> int:
    """Return the number of anchors in a micro-batch."""
    per_text = next(n for n, known in _NAMES.items() if known == name)
    return (len(flat.starts) - 1) // per_text


def _alike(flat: FlatBatch, P: int) -> "torch.Tensor":
    """Say which others an anchor's positive equals without being it. Shapes: bool [P, S − P]."""
    edges = [int(s) for s in flat.starts]
    texts = [tuple(flat.tokens[a:b].tolist()) for a, b in pairwise(edges)]
    numbers = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    place = torch.tensor([numbers[t] for t in texts[P:]])
    same = place[:P, None] == place[None, :]
    same[torch.arange(P), torch.arange(P)] = False
    return same


def _differs(tools: Tools) -> bool:
    """Say whether anything is drawn anew in each forward pass of a training step."""
    model = tools.loaded.model
    shares = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    shares.append(getattr(model.config, "attention_dropout", 0.0))
    shares.append(getattr(tools.adapter.config, "dropout", 0.0))
    shares.append(tools.model.options.neftune_alpha)
    return any(share > 0 for share in shares)
