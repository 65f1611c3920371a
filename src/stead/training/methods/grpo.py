"""GRPO: an answer is better or worse than the other answers to its prompt; no value model.

Knows nothing about adapters or optimizers. The switches make it Dr. GRPO, DAPO, BNPO or GSPO.
Source: arXiv:2402.03300 section 4.1; dr_grpo: 2503.20783; dapo: 2503.14476; bnpo: 2506.02864 as TRL
has it; sequence ratios: 2507.18071.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from stead.core.events import Note
from stead.training.method import Columns, Loss, Model, Tools
from stead.training.rl.advantages import group_relative, is_flat
from stead.training.rl.policy import Clip, Estimator, by_answer, clipped, divergence
from stead.training.rl.rollout import RolloutMethod, Scored
from stead.training.rl.rollout_buffer import Buffer, Rolled
from stead.training.rl.settings import RolloutConfig

if TYPE_CHECKING:
    from torch import Tensor


class GRPOConfig(RolloutConfig):
    """Names and defaults as TRL's GRPOConfig."""

    type: Literal["grpo"] = "grpo"
    loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo"] = Field(
        default="dapo",
        description="how tokens are averaged: per answer, by the length limit, or over the step",
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(default="group", description="the deviation that advantages are divided by")  # fmt: skip
    epsilon: float = Field(default=0.2, ge=0, description="how far below 1 a ratio is followed; above 1 too, unless epsilon_high")  # fmt: skip
    epsilon_high: float | None = Field(default=None, ge=0, description="how far above 1 a ratio is followed (DAPO: 0.28)")  # fmt: skip
    delta: float | None = Field(default=None, gt=0, description="the largest ratio that counts at all")  # fmt: skip
    beta: float = Field(default=0.0, ge=0, description="weight of the distance to the starting model")  # fmt: skip
    kl_estimator: Estimator = Field(default="k3", description="how that distance is estimated from the drawn tokens")  # fmt: skip
    use_bias_correction_kl: bool = Field(default=True, description="weigh the distance by the ratio, so that its gradient is that of the divergence")  # fmt: skip
    importance_sampling_level: Literal["token", "sequence"] = Field(default="token", description="one ratio per token, or one per answer (GSPO)")  # fmt: skip
    dynamic_sampling: int = Field(default=0, ge=0, description="times that groups without a difference in reward are replaced by other prompts' (DAPO)")  # fmt: skip


class GRPO(RolloutMethod):
    """Learn from scores: several answers to each prompt, compared with one another.

    Group relative policy optimization.
    """

    config: GRPOConfig
    default_lr: ClassVar[dict[str, float]] = {"full": 1e-6, "lora": 1e-5}

    @property
    def needs_reference(self) -> bool:
        """The starting model is asked only when its distance has a weight."""
        return self.config.beta > 0

    def fill(self, tools: Tools, step: int, rows: Sequence[int]) -> Buffer:
        """Write answers; replace groups that teach nothing, as often as the settings allow."""
        buffer = self.write(tools, step, rows)
        for attempt in range(1, self.config.dynamic_sampling + 1):
            flat = [i for i, f in enumerate(is_flat(buffer.rewards, self.group)) if f]
            if not flat:
                break
            others = self.other_rows(tools, step, attempt, len(flat))
            fresh = self.write(tools, step, others, attempt)
            buffer = buffer.replaced(flat, fresh, self.group)
        if self.config.dynamic_sampling and bool(is_flat(buffer.rewards, self.group).all()):
            message = f"step {step}: no group has different rewards after {self.config.dynamic_sampling} attempts; nothing is learnt"
            tools.emit(Note(stage="train", message=message, level="warning", code="flat-rewards"))
        return buffer

    def judge(self, tools: Tools, buffer: Buffer) -> None:
        """Compare each answer with its group."""
        found = group_relative(buffer.rewards, self.group, self.config.scale_rewards)
        buffer.columns["advantage"] = buffer.spread(found)

    def weights(self, part: Rolled) -> float:
        """Return answers, tokens, or tokens that there could have been."""
        kind = self.config.loss_type
        if kind == "grpo":
            return float(len(part.lengths))
        if kind == "dr_grpo":
            return float(len(part.lengths) * self.config.max_completion_length)
        return float(self.kept_tokens(part).sum())

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum the clipped objective, and the distance to the starting model, over the answers."""
        part: Rolled = batch["tokens"]  # type: ignore[assignment]  # what `gather` made
        scored = self.score(model, part)
        log_ratio = self._log_ratio(part, scored)
        c = self.config
        clip = Clip(c.epsilon, c.epsilon if c.epsilon_high is None else c.epsilon_high, c.delta)
        advantage = self.column(part, "advantage", scored.logp)
        per_token, outside = clipped(log_ratio, advantage, clip)
        per_token = per_token * self.trust(part, scored.logp)
        sums = {"clip_fraction": outside.sum(), "ratio": log_ratio.exp().sum()}
        if self.needs_reference:
            reference = self.column(part, "reference", scored.logp)
            sums["kl"] = divergence(scored.logp.detach(), reference, "k3").sum()
            distance = divergence(scored.logp, reference, c.kl_estimator)
            per_token = per_token + c.beta * (
                distance * log_ratio.exp() if c.use_bias_correction_kl else distance
            )
        kept = self.kept_tokens(part).to(per_token.device)
        if c.loss_type == "grpo":
            kept = kept / self._lengths(part, kept)
        return Loss((per_token * kept).sum(), self.measured(part, scored, **sums))

    def _log_ratio(self, part: Rolled, scored: Scored) -> "Tensor":
        """Return the log of new over old probability, per token or spread over the answer."""
        difference = scored.logp - self.old(part, scored.logp)
        if self.config.importance_sampling_level == "token":
            return difference
        answer, kept = self.answer(part, difference), self.kept_tokens(part).to(difference.device)
        count = len(part.lengths)
        mean = by_answer(difference * kept, answer, count) / by_answer(kept, answer, count).clamp(min=1)  # fmt: skip
        return mean[answer]

    def _lengths(self, part: Rolled, kept: "Tensor") -> "Tensor":
        answer = self.answer(part, kept)
        return by_answer(kept, answer, len(part.lengths)).clamp(min=1)[answer]
