"""Kahneman–Tversky optimization: learn from answers marked good or bad, one by one.

Knows nothing about adapters, batches or saving. Legend: A answers. Source: arXiv:2402.01306 eq. 7,
weights eq. 8. The baseline z₀, how far the model is from the reference anyway, is estimated as the
paper does: with answers that belong to another prompt, without gradient, over all rows of the step,
so that it does not depend on how a step is cut into micro-batches.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.core.events import Note
from stead.core.lazy import lazy
from stead.data.pack import TokenStore, read_scalars
from stead.data.tree import Masked
from stead.training.method import Columns, Loss, Method, MethodConfig, Model, Store, Tools
from stead.training.teaching.preference import Judged, answer_sums, fact, judged, judged_of
from stead.training.teaching.reference import Measure, reference_table

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np, torch = lazy("numpy", extra="data"), lazy("torch", extra="train")


class KTOConfig(MethodConfig):
    """How closely the reference is kept, and how much good and bad answers count."""

    type: Literal["kto"] = "kto"
    beta: float = Field(default=0.1, gt=0, description="how closely the reference is kept")
    desirable_weight: float = Field(default=1.0, ge=0, description="weight of good answers")
    undesirable_weight: float = Field(
        default=1.0, ge=0, description="weight of bad answers; balance unequal numbers with it"
    )


class KTO(Method):
    """Learn from single answers marked good or bad.

    λ_D·(1 − σ(β·(r − z₀))) for good answers, λ_U·(1 − σ(β·(z₀ − r))) for bad ones.
    """

    config: KTOConfig
    kinds = ("labelled",)
    columns = ("tokens",)
    unit = "answers"
    default_lr: ClassVar[dict[str, float]] = {"lora": 5e-6, "full": 5e-7}  # as dpo
    forward_passes = 4.0  # own and foreign answers, of the model and of the reference
    reference = "table"

    def __init__(self, config: KTOConfig) -> None:
        super().__init__(config)
        self._facts: dict[str, dict[str, Any]] = {}  # Any: float32 arrays by name, by split
        self._partners: dict[str, Any] = {}  # Any: int64 [rows] by split

    def setup(self, tools: Tools) -> None:
        """Pair prompts with foreign answers, and ask the starting model about own and foreign ones."""
        for store in (tools.train, tools.held_out):
            if store is None:
                continue
            self._partners[store.split] = partners(store.stores["tokens"])
            table = reference_table(tools, store, self._measure(store))
            self._facts[store.split] = {
                "label": read_scalars(store.prepared, store.split, "label"),
                "reference": table[:, 0],
                "foreign": table[:, 1],
            }
        self._tell_balance(tools)

    def _tell_balance(self, tools: Tools) -> None:
        """Say when one side outweighs the other beyond what the paper found good (its eq. 8)."""
        labels = self._facts["train"]["label"]
        good = int((labels > 0).sum())
        bad = len(labels) - good
        weighed = (good * self.config.desirable_weight, bad * self.config.undesirable_weight)
        if weighed[1] <= weighed[0] <= 4 / 3 * weighed[1]:
            return
        balance = good * self.config.desirable_weight / max(1, bad)
        fitting = "" if 0 in weighed else f"; method.undesirable_weight={balance:.3g} balances them"
        message = f"{good} good and {bad} bad answers weigh {weighed[0]:g} to {weighed[1]:g}, not 1 to 4/3 times{fitting}"
        tools.emit(Note(stage="train", level="warning", code="unbalanced-labels", message=message))

    def _measure(self, store: Store) -> Measure:
        def flatten(rows: Sequence[int]) -> Columns:
            both = [[self._own(store, row), self._foreign(store, row)] for row in map(int, rows)]
            return {"tokens": judged(both, rows, {})}

        def of(model: Model, batch: Columns) -> "torch.Tensor":
            return answer_sums(model, judged_of(batch, "tokens")).log_probs.view(-1, 2)

        lengths = store.lengths.astype(np.int64)
        return Measure("foreign-answers", 2, lengths + lengths[self._partners[store.split]], flatten, of)  # fmt: skip

    def _own(self, store: Store, row: int) -> Masked:
        column = store.stores["tokens"]
        return column.tokens(row), column.mask(row)

    def _foreign(self, store: Store, row: int) -> Masked:
        """Return a row's prompt with its partner's answer, no longer than the longest row."""
        (ids, mask), (other, marks) = (
            self._own(store, i) for i in (row, int(self._partners[store.split][row]))
        )
        first, begin = _first_trained(mask), _first_trained(marks)
        limit = int(store.lengths.max())
        joined = np.concatenate([ids[:first], other[begin:]])[:limit]
        return joined, np.concatenate([mask[:first], marks[begin:]])[:limit]

    def flatten(self, store: Store, rows: Sequence[int]) -> Columns:
        """Lay out answers, and their prompts with foreign answers for the baseline."""
        facts = self._facts[store.split]
        own = [[self._own(store, row)] for row in map(int, rows)]
        foreign = [[self._foreign(store, row)] for row in map(int, rows)]
        return {
            "tokens": judged(own, rows, {n: facts[n] for n in ("label", "reference")}),
            "foreign": judged(foreign, rows, {"reference": facts["foreign"]}),
        }

    def gather(self, tools: Tools, step: int, rows: Sequence[Sequence[int]]) -> list[Columns]:
        """Cut the step for the lanes and estimate its baseline with the present model."""
        parts = super().gather(tools, step, rows)
        tools.loaded.model.eval()
        with tools.model.draw(0, 0, active=False):
            drift = [_drift(tools.model, judged_of(part, "foreign")) for part in parts]
        labels = np.concatenate([judged_of(part, "tokens").facts["label"] for part in parts])
        facts = {
            "baseline": np.float32(max(0.0, float(torch.cat(drift).mean()))),
            "good": np.float32(labels.mean()),
        }
        ready: list[Columns] = []
        for part in parts:
            own = judged_of(part, "tokens")
            ready.append({"tokens": replace(own, facts={**own.facts, **facts})})
        return ready

    def weight(self, batch: Columns) -> float:
        """Count the answers."""
        return float(len(judged_of(batch, "tokens").rows))

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum the loss over answers; a batch that no step gathered estimates its own baseline."""
        own, config = judged_of(batch, "tokens"), self.config
        sums = answer_sums(model, own).log_probs
        ratios = sums - fact(own, "reference", sums)
        good = fact(own, "label", sums) > 0
        if "baseline" in own.facts:
            baseline = fact(own, "baseline", sums)
        else:
            baseline = _drift(model, judged_of(batch, "foreign")).mean().clamp(min=0)
        distance = torch.where(good, ratios - baseline, baseline - ratios)
        weights = torch.where(good, config.desirable_weight, config.undesirable_weight)
        losses = weights * (1 - torch.sigmoid(config.beta * distance))
        rewards = config.beta * ratios.detach()
        return Loss(losses.sum(), self._values(own, rewards, good, baseline))

    def _values(
        self, own: Judged, rewards: "torch.Tensor", good: "torch.Tensor", baseline: "torch.Tensor"
    ) -> dict[str, float]:
        """Return what is logged: means over good and over bad answers, brought to sums over all."""
        share = float(own.facts.get("good", good.float().mean()))
        values = {"kl": float(baseline) * len(rewards)}
        for name, chosen, part in (("chosen", good, share), ("rejected", ~good, 1 - share)):
            if part > 0:
                values[f"rewards/{name}"] = float(rewards[chosen].double().sum()) / part
        return values


def _drift(model: Model, foreign: Judged) -> "torch.Tensor":
    """Return log π/π_ref of foreign answers, without gradient. Shapes: [A]."""
    with torch.no_grad():
        sums = answer_sums(model, foreign).log_probs
        return sums - fact(foreign, "reference", sums)


def _first_trained(mask: Any) -> int:  # Any: uint8 array
    """Return where the answer begins; what a row's end cut off leaves at least one trained token."""
    return int(np.argmax(np.asarray(mask) == 1))


def partners(store: TokenStore) -> Any:  # Any: int64 [rows]
    """Return for each row another one whose answer does not belong to its prompt.

    The row before it, as in the paper's code; where that has the same prompt, as the two answers of a
    converted pair have, the nearest one before with another prompt. With one prompt only: the row
    before.
    """
    count = len(store)
    prompts = [store.tokens(i)[: _first_trained(store.mask(i))].tobytes() for i in range(count)]
    found: Any = (np.arange(count) - 1) % max(1, count)
    if len(set(prompts)) > 1:
        for row in (*range(count), *range(count)):  # twice: the first row follows the last one
            before = (row - 1) % count
            found[row] = found[before] if prompts[row] == prompts[before] else before
    return found
