"""Distillation: learn a teacher's distribution over the next token, its hidden states, or one's own.

Knows nothing about how distances are computed (`models/divergence`). Sources: arXiv:1503.02531 §2
(logits), arXiv:1412.6550 §2.2 (features), arXiv:2306.13649 (divergences, on-policy).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stead.core.errors import ConfigError
from stead.core.lazy import lazy
from stead.models.measure import Divergence, Measure
from stead.training.method import Columns, Find, Kept, Loss, Method, MethodConfig, Model, Tools
from stead.training.teaching.students import Answers, check_vocabulary
from stead.training.teaching.teacher import Moving, Projections, Teacher, default_pairs, quiet

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", extra="train")

_IGNORED = -100


class DistillationConfig(MethodConfig):
    """Who teaches, what is compared, and how much of the rows' own labels is mixed in."""

    models: ClassVar[tuple[str, ...]] = ("teacher",)
    type: Literal["distillation"] = "distillation"
    teacher: str | None = Field(
        default=None, description="model that teaches: folder, run, adapter or the name of an added one"
    )  # fmt: skip
    kind: Literal["logits", "feature", "self"] = Field(
        default="logits",
        description="learn the teacher's distribution, its hidden states, or the model's own earlier distribution",
    )
    temperature: float = Field(
        default=1.0, gt=0, le=100, description="both distributions are softened by it"
    )
    alpha: float = Field(
        default=0.5, ge=0, le=1, description="share of the rows' own labels; the rest is the teacher's"
    )  # fmt: skip
    divergence: Divergence = Field(
        default="forward_kl", description="distance of the distributions (kinds logits and self)"
    )
    beta: float = Field(
        default=0.5, gt=0, lt=1, description="the teacher's share in the mixture of jsd"
    )
    top_k: int | None = Field(
        default=None, ge=1, description="tell only the teacher's likeliest tokens apart; None: all"
    )
    layers: tuple[tuple[int, int], ...] = Field(
        default=(),
        description="pairs (student layer, teacher layer) for kind feature, counted from 1; empty: the middle and the last",
    )
    ema: float | None = Field(
        default=None, ge=0, lt=1,
        description="kind self: the teacher follows the student, keeping this share per step; None: it stays the start",
    )  # fmt: skip
    on_policy: float = Field(
        default=0.0, ge=0, le=1, description="share of rows whose answer the student writes itself"
    )
    max_new_tokens: int = Field(
        default=128, ge=1, description="longest answer that the student writes"
    )

    @model_validator(mode="after")
    def _agree(self) -> "DistillationConfig":
        if self.teacher is not None and self.kind == "self":
            raise ValueError(f"method.kind='self' has no other teacher ({self.teacher!r})")
        if self.ema is not None and self.kind != "self":
            raise ValueError(f"method.ema={self.ema} belongs to method.kind='self'")
        if self.layers and self.kind != "feature":
            raise ValueError("method.layers belongs to method.kind='feature'")
        return self

    def require(self, find: Find) -> None:
        """Refuse a student without a teacher. Raises: ConfigError("no-teacher")."""
        if self.teacher is None and self.kind != "self":
            raise ConfigError(
                "no-teacher", f"method.kind={self.kind!r} needs a teacher, and method.teacher is not set",
                hint="stead train RECIPE --set method.teacher=MODEL",
            )  # fmt: skip

    @property
    def logit_arrays(self) -> float:
        """Float32 arrays as large as a chunk's logits that a lane has at once; models/divergence.

        Both models' logits and logarithms, one's probabilities, their difference and its product, and half
        of one in bf16. Backward has one less.
        """
        return 0.0 if self.kind == "feature" else 7.5


class Distillation(Method):
    """Learn from a larger model, the teacher.


    alpha · cross-entropy + (1 − alpha) · distance to the teacher, over the masked tokens.
    Rows that the student wrote itself have no labels: only the distance counts there.
    """

    config: DistillationConfig
    kinds = ("messages", "text")
    columns = ("tokens",)
    default_lr: ClassVar[dict[str, float]] = {"lora": 2e-4, "full": 2e-5}  # as for sft
    reference: ClassVar[Literal["none", "table", "live"]] = "live"

    _teacher: Teacher
    _moving: Moving | None = None
    _projections: Projections | None = None
    _answers: Answers | None = None

    def setup(self, tools: Tools) -> None:
        """Load or copy the teacher. Raises: ModelError("teacher-vocabulary"), and as loading does."""
        c = self.config
        if c.teacher is not None:
            teacher = tools.open_model(c.teacher)
            check_vocabulary(tools.loaded, teacher.loaded)
            self._teacher = quiet(teacher)
            if c.kind == "feature":
                models = (tools.loaded.model, teacher.model)
                pairs = c.layers if c.layers else default_pairs(*models)
                self._projections = Projections.make(*models, pairs, tools.seed)
        elif c.ema is not None:
            twin = tools.twin()
            self._teacher = quiet(twin)
            self._moving = Moving(twin, [n for n, _ in tools.model.trained()], c.ema)
        else:
            tools.keep_reference()
            self._teacher = Teacher(tools.reference)
        if c.on_policy > 0:
            self._answers = Answers(tools, c.on_policy, c.max_new_tokens)

    def parameters(self) -> "dict[str, torch.nn.Parameter]":
        """Name the projections that features are compared through."""
        return {} if self._projections is None else self._projections.parameters()

    def gather(self, tools: Tools, step: int, rows: Sequence[Sequence[int]]) -> list[Columns]:
        """Move the teacher after the student, and let the student write its share of the rows."""
        if self._moving is not None and step > 0:
            self._moving.follow(tools.loaded.model)
        if self._answers is None:
            return super().gather(tools, step, rows)
        return self._answers.gather(tools, step, rows)

    def weight(self, batch: Columns) -> float:
        """Count the labelled tokens."""
        return float(sum((flat.labels != _IGNORED).sum() for flat in batch.values()))

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum the loss over the labelled tokens of given and of own answers."""
        total: Any = 0.0  # Any: a number, then a tensor
        values: dict[str, float] = {}
        for name, flat in batch.items():
            alpha = 0.0 if name == Answers.COLUMN else self.config.alpha
            part, found = self._compare(model, flat, alpha)
            total = total + part
            for key, value in found.items():
                values[key] = values.get(key, 0.0) + value
        return Loss(total, values)

    def _compare(
        self, model: Model, flat: Any, alpha: float
    ) -> "tuple[torch.Tensor, dict[str, float]]":
        c = self.config
        if self._projections is not None:
            return self._projections.compare(model, self._teacher, flat, alpha)
        measure = Measure(c.divergence, c.temperature, alpha, c.beta, c.top_k)
        return model.distill(flat, self._teacher, measure)

    def state(self) -> Kept:
        """Return the moving teacher."""
        return Kept() if self._moving is None else Kept(self._moving.tensors())

    def restore(self, kept: Kept) -> None:
        """Put the moving teacher back."""
        if self._moving is not None:
            self._moving.restore(kept.tensors)
