"""Direct preference optimization: raise chosen answers over rejected ones, relative to the start.

Knows nothing about adapters, batches or saving. The reference is computed once, into a table. Legend:
P pairs. Sources: sigmoid arXiv:2305.18290 eq. 7, with label smoothing E. Mitchell's "A note on DPO with
noisy preferences" (cDPO); ipo arXiv:2310.12036 eq. 17; hinge arXiv:2305.10425 §2.2; robust
arXiv:2403.00409 §3; simpo arXiv:2405.14734 eq. 6; apo_zero, apo_down arXiv:2408.06266 eq. 7 and 8; sft_weight arXiv:2404.19733
eq. 1.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from stead.core.lazy import lazy
from stead.training.method import Columns, Loss, Method, MethodConfig, Model, Store, Tools
from stead.training.teaching.preference import (
    COLUMNS,
    PairLengths,
    answer_sums,
    fact,
    judged_of,
    make_pairs,
    pair_values,
)
from stead.training.teaching.reference import Measure, reference_table

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", extra="train")

_SMOOTHED = ("sigmoid", "robust", "simpo")
_PER_TOKEN = ("ipo", "simpo")


class DPOConfig(MethodConfig):
    """Which loss, how strongly it is held to the reference, and what is added."""

    type: Literal["dpo"] = "dpo"
    loss: Literal["sigmoid", "ipo", "hinge", "robust", "simpo", "apo_zero", "apo_down"] = Field(
        default="sigmoid", description="how a pair is judged; label_smoothing makes sigmoid cDPO"
    )
    beta: float = Field(
        default=0.1, gt=0, description="how closely the reference is kept; simpo wants about 2"
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="share of pairs that are thought to be swapped"
    )
    gamma: float = Field(
        default=0.5, ge=0, description="simpo: the reward margin that chosen answers should have"
    )
    reference_free: bool = Field(
        default=False, description="judge the model's own probabilities alone; simpo always does"
    )
    length_normalize: bool | None = Field(
        default=None, description="judge probabilities per token; null: yes for ipo and simpo"
    )
    sft_weight: float = Field(
        default=0.0, ge=0, description="how much of the chosen answers' own loss per token is added"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.label_smoothing and self.loss not in _SMOOTHED:
            raise ValueError(
                f"label_smoothing={self.label_smoothing!r} has no meaning for loss={self.loss!r} "
                f"(only {', '.join(_SMOOTHED)})"
            )
        return self

    @property
    def per_token(self) -> bool:
        """Say whether probabilities are judged per token."""
        wanted = self.length_normalize
        return self.loss in _PER_TOKEN if wanted is None else wanted

    @property
    def needs_reference(self) -> bool:
        """Say whether the starting model is asked."""
        return not (self.reference_free or self.loss == "simpo")


class DPO(Method):
    """Learn from pairs of a better and a worse answer.

    DPO and its relatives; a pair is one tree, so its prompt is computed once.
    """

    config: DPOConfig
    kinds = ("preference",)
    columns = COLUMNS
    layout: ClassVar[Literal["rows", "trees", "views"]] = "trees"
    default_lr: ClassVar[dict[str, float]] = {"lora": 5e-6, "full": 5e-7}  # arXiv:2310.16944 §4.2
    unit = "pairs"
    forward_passes = 2.0
    reference = "table"

    def __init__(self, config: DPOConfig) -> None:
        super().__init__(config)
        self._lengths = PairLengths()
        self._tables: dict[str, Any] = {}  # Any: float32 [rows, 2] by split

    def setup(self, tools: Tools) -> None:
        """Ask the starting model about every answer, unless the loss does not."""
        if not self.config.needs_reference:
            return
        for store in (tools.train, tools.held_out):
            if store is not None:
                self._tables[store.split] = reference_table(tools, store, self._measure(store))

    def _measure(self, store: Store) -> Measure:
        def flatten(rows: Sequence[int]) -> Columns:
            return {"pairs": make_pairs(store, rows, {})}

        def of(model: Model, batch: Columns) -> "torch.Tensor":
            return answer_sums(model, judged_of(batch, "pairs")).log_probs.view(-1, 2)

        return Measure("pairs", 2, self.lengths(store), flatten, of)

    def lengths(self, store: Store) -> Any:  # Any: int64 [rows]
        """Return each pair's tokens, what its answers share counted once."""
        return self._lengths.of(store)

    def flatten(self, store: Store, rows: Sequence[int]) -> Columns:
        """Lay out pairs with what the reference says about them."""
        table = self._tables.get(store.split)
        facts = {} if table is None else {"reference": table}
        return {"pairs": make_pairs(store, rows, facts)}

    def weight(self, batch: Columns) -> float:
        """Count the pairs."""
        return float(len(judged_of(batch, "pairs").rows))

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum the loss over pairs."""
        pairs, config = judged_of(batch, "pairs"), self.config
        sums = answer_sums(model, pairs)
        scores = sums.log_probs.view(-1, 2)
        if config.needs_reference:
            scores = scores - fact(pairs, "reference", scores)
        if config.per_token:
            scores = scores / sums.tokens.view(-1, 2)
        losses = LOSSES[config.loss](scores, config)
        values = pair_values(config.beta * scores)
        chosen, rejected = sums.log_probs.detach().view(-1, 2).double().sum(0).tolist()
        values |= {"logps/chosen": chosen, "logps/rejected": rejected}
        if config.sft_weight:
            own = -sums.means.view(-1, 2)[:, 0]
            values["sft_loss"] = float(own.detach().sum())
            losses = losses + config.sft_weight * own
        return Loss(losses.sum(), values)


def _logistic(margins: "torch.Tensor", smoothing: float) -> "torch.Tensor":
    """Return −log σ(m), a share `smoothing` of it as if the pair were swapped. Shapes: [P]."""
    log_sigmoid = torch.nn.functional.logsigmoid
    return -(1 - smoothing) * log_sigmoid(margins) - smoothing * log_sigmoid(-margins)


def _margin(scores_P2: "torch.Tensor") -> "torch.Tensor":
    return scores_P2[:, 0] - scores_P2[:, 1]


def sigmoid(scores_P2: "torch.Tensor", config: DPOConfig) -> "torch.Tensor":
    """−log σ(β·h). Shapes: [P, 2] → [P]. Source: arXiv:2305.18290 eq. 7."""
    return _logistic(config.beta * _margin(scores_P2), config.label_smoothing)


def robust(scores_P2: "torch.Tensor", config: DPOConfig) -> "torch.Tensor":
    """Undo, on average, a share ε of swapped pairs. Shapes: [P, 2] → [P]. arXiv:2403.00409 §3."""
    h, epsilon = config.beta * _margin(scores_P2), config.label_smoothing
    log_sigmoid = torch.nn.functional.logsigmoid
    return (epsilon * log_sigmoid(-h) - (1 - epsilon) * log_sigmoid(h)) / (1 - 2 * epsilon)


def hinge(scores_P2: "torch.Tensor", config: DPOConfig) -> "torch.Tensor":
    """max(0, 1 − β·h). Shapes: [P, 2] → [P]. Source: arXiv:2305.10425 §2.2."""
    return torch.relu(1 - config.beta * _margin(scores_P2))


def ipo(scores_P2: "torch.Tensor", config: DPOConfig) -> "torch.Tensor":
    """(h − 1/2β)². Shapes: [P, 2] → [P]. Source: arXiv:2310.12036 eq. 17, β is its τ."""
    return (_margin(scores_P2) - 1 / (2 * config.beta)) ** 2


def simpo(scores_P2: "torch.Tensor", config: DPOConfig) -> "torch.Tensor":
    """−log σ(β·h − γ). Shapes: [P, 2] → [P]. Source: arXiv:2405.14734 eq. 6."""
    return _logistic(config.beta * _margin(scores_P2) - config.gamma, config.label_smoothing)


def apo_zero(scores_P2: "torch.Tensor", config: DPOConfig) -> "torch.Tensor":
    """1 − σ(β·chosen) + σ(β·rejected). Shapes: [P, 2] → [P]. Source: arXiv:2408.06266 eq. 7."""
    chosen, rejected = torch.sigmoid(config.beta * scores_P2).unbind(1)
    return 1 - chosen + rejected


def apo_down(scores_P2: "torch.Tensor", config: DPOConfig) -> "torch.Tensor":
    """σ(β·chosen) + 1 − σ(β·h). Shapes: [P, 2] → [P]. Source: arXiv:2408.06266 eq. 8."""
    chosen = torch.sigmoid(config.beta * scores_P2[:, 0])
    return chosen + 1 - torch.sigmoid(config.beta * _margin(scores_P2))


LOSSES: "dict[str, Callable[[torch.Tensor, DPOConfig], torch.Tensor]]" = {
    "sigmoid": sigmoid, "robust": robust, "hinge": hinge, "ipo": ipo, "simpo": simpo,
    "apo_zero": apo_zero, "apo_down": apo_down,
}  # fmt: skip
