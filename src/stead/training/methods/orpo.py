"""Odds-ratio preference optimization: learn chosen answers and, in one go, disfavor rejected ones.

Knows nothing about adapters, batches or saving; needs no reference. Legend: P pairs. Source:
arXiv:2403.07691 eq. 6 and 7; the loss of the chosen answer is over the answer's tokens, the mean of eq. 3.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.core.lazy import lazy
from stead.training.method import Columns, Loss, Method, MethodConfig, Model, Store
from stead.training.teaching.preference import (
    COLUMNS,
    PairLengths,
    answer_sums,
    judged_of,
    make_pairs,
    pair_values,
)

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", extra="train")


class ORPOConfig(MethodConfig):
    """The weight of the odds ratio."""

    type: Literal["orpo"] = "orpo"
    beta: float = Field(
        default=0.1, ge=0, description="weight of the odds ratio beside the chosen answers' loss"
    )


class ORPO(Method):
    """Learn from pairs of answers in one go, without a reference model.

    −log p(chosen) per token − β·log σ(log odds(chosen) − log odds(rejected)).
    """

    config: ORPOConfig
    kinds = ("preference",)
    columns = COLUMNS
    layout: ClassVar[Literal["rows", "trees", "views"]] = "trees"
    unit = "pairs"
    default_lr: ClassVar[dict[str, float]] = {"lora": 8e-6, "full": 8e-6}  # the paper, appendix C

    def __init__(self, config: ORPOConfig) -> None:
        super().__init__(config)
        self._lengths = PairLengths()

    def lengths(self, store: Store) -> Any:  # Any: int64 [rows]
        """Return each pair's tokens, what its answers share counted once."""
        return self._lengths.of(store)

    def flatten(self, store: Store, rows: Sequence[int]) -> Columns:
        """Lay out pairs."""
        return {"pairs": make_pairs(store, rows, {})}

    def weight(self, batch: Columns) -> float:
        """Count the pairs."""
        return float(len(judged_of(batch, "pairs").rows))

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum the loss over pairs."""
        means = answer_sums(model, judged_of(batch, "pairs")).means.view(-1, 2)
        ratio = log_odds(means)[:, 0] - log_odds(means)[:, 1]
        learnt = -means[:, 0]
        preferred = -torch.nn.functional.logsigmoid(ratio)
        values = pair_values(self.config.beta * means) | {
            "sft_loss": float(learnt.detach().sum()),
            "odds_loss": float(preferred.detach().sum()),
            "log_odds": float(ratio.detach().sum()),
        }
        return Loss((learnt + self.config.beta * preferred).sum(), values)


def log_odds(mean_log_probs: "torch.Tensor") -> "torch.Tensor":
    """Return log(p / (1 − p)) of p = exp(mean). Shapes: as given. Source: arXiv:2403.07691 eq. 4.

    log(1 − eᵐ) is taken as log(−expm1(m)): exact for probabilities near 1.
    """
    least = torch.finfo(mean_log_probs.dtype).tiny  # p rounds to 1: odds stay finite
    return mean_log_probs - torch.log((-torch.expm1(mean_log_probs)).clamp(min=least))
