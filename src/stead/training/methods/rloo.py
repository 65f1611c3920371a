"""RLOO: REINFORCE whose baseline is the mean reward of the other answers to the same prompt.

Knows nothing about adapters or optimizers. The distance to the starting model is part of the reward,
and one ratio is clipped per answer. Source: arXiv:2402.14740 sections 3.2 and 3.3.
"""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.core.lazy import lazy
from stead.training.method import Columns, Loss, Model, Tools
from stead.training.rl.advantages import leave_one_out, whiten
from stead.training.rl.policy import Clip, by_answer, clipped, divergence
from stead.training.rl.rollout import RolloutMethod
from stead.training.rl.rollout_buffer import Buffer, Rolled
from stead.training.rl.settings import RolloutConfig

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")


class RLOOConfig(RolloutConfig):
    """Names and defaults as TRL's RLOOConfig."""

    type: Literal["rloo"] = "rloo"
    num_generations: int = Field(default=2, gt=1, description="answers written per prompt; each is compared with the others")  # fmt: skip
    beta: float = Field(default=0.05, ge=0, description="weight of the distance to the starting model, taken off the reward")  # fmt: skip
    epsilon: float = Field(default=0.2, ge=0, description="how far below 1 a ratio is followed; above 1 too, unless epsilon_high")  # fmt: skip
    epsilon_high: float | None = Field(default=None, ge=0, description="how far above 1 a ratio is followed")  # fmt: skip
    normalize_advantages: bool = Field(default=False, description="give the step's advantages mean 0 and variance 1")  # fmt: skip
    reward_clip_range: tuple[float, float] | None = Field(default=None, description="bounds that the reward is cut to")  # fmt: skip


class RLOO(RolloutMethod):
    """Learn from scores: each answer against the mean of the others.

    REINFORCE, leave one out.
    """

    config: RLOOConfig
    reference: ClassVar[Literal["live"]] = "live"
    default_lr: ClassVar[dict[str, float]] = {"full": 1e-6, "lora": 1e-5}

    @property
    def needs_reference(self) -> bool:
        """The starting model is asked only when its distance has a weight."""
        return self.config.beta > 0

    def judge(self, tools: Tools, buffer: Buffer) -> None:
        """Take the distance off the reward, and compare each answer with the others."""
        c = self.config
        rewards: Any = np.asarray(buffer.rewards, dtype=np.float64)
        if c.reward_clip_range is not None:
            rewards = rewards.clip(*c.reward_clip_range)
        if self.needs_reference:
            apart = self.sampled(tools, buffer) - buffer.columns["reference"]
            rewards = rewards - c.beta * np.add.reduceat(apart, buffer.ends - buffer.lengths)
        found = leave_one_out(rewards, self.group)
        buffer.columns["advantage"] = buffer.spread(
            whiten(found) if c.normalize_advantages else found
        )

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum the clipped objective over the answers."""
        part: Rolled = batch["tokens"]  # type: ignore[assignment]  # what `gather` made
        scored = self.score(model, part)
        c, count = self.config, len(part.lengths)
        answer = self.answer(part, scored.logp)
        kept = self.kept_tokens(part).to(scored.logp.device)
        ratio = by_answer((scored.logp - self.old(part, scored.logp)) * kept, answer, count)
        first = (by_answer(kept.new_ones(len(kept)), answer, count).cumsum(0) - 1).long()
        advantage = self.column(part, "advantage", scored.logp)[first]
        clip = Clip(c.epsilon, c.epsilon if c.epsilon_high is None else c.epsilon_high)
        per_answer, outside = clipped(ratio, advantage, clip)
        per_answer = per_answer * self.trust(part, scored.logp, whole=True)
        shown = by_answer(kept, answer, count) > 0
        sums = {}
        if self.needs_reference:
            reference = self.column(part, "reference", scored.logp)
            sums["kl"] = divergence(scored.logp.detach(), reference, "k3").sum()
        values = self.measured(part, scored, **sums)
        values["clip_fraction"] = float(outside.sum())
        values["ratio"] = float(ratio.detach().exp().sum())
        return Loss((per_answer * shown).sum(), values)
