"""RLAIF: a judge model says which of two fresh answers is better, or how good each one is.

Knows nothing about adapters or optimizers. "preference" learns from the judge's choice between pairs
(online DPO), "grade" from its grades (REINFORCE, leave one out). Source: arXiv:2309.00267; online
preferences: 2402.04792 section 3.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from stead.config.run import RunConfig
from stead.core.errors import ConfigError
from stead.core.lazy import lazy
from stead.planning.facts import DataFacts, ModelFacts
from stead.training.method import Columns, Find, Loss, Model, Tools
from stead.training.rl.advantages import leave_one_out
from stead.training.rl.judge import Judge, JudgeSettings
from stead.training.rl.policy import Clip, by_answer, clipped, divergence
from stead.training.rl.reward_source import Answered
from stead.training.rl.rewards import JudgeReward, Rewards, Scores
from stead.training.rl.rollout import RolloutMethod, Scored
from stead.training.rl.rollout_buffer import Buffer, Rolled
from stead.training.rl.settings import RolloutConfig

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np = lazy("numpy", extra="data")
    torch = lazy("torch", extra="train")


class RLAIFConfig(RolloutConfig):
    """The judge, and what its word is used for."""

    type: Literal["rlaif"] = "rlaif"
    judge: JudgeSettings | None = Field(default=None, description="the model that judges, behind an endpoint")  # fmt: skip
    labels: Literal["preference", "grade"] = Field(default="preference", description="the judge chooses between pairs, or grades each answer")  # fmt: skip
    num_generations: int = Field(default=2, gt=1, description="answers written per prompt; even for pairs")  # fmt: skip
    beta: float = Field(default=0.1, gt=0, description="how strongly the starting model holds back")  # fmt: skip
    epsilon: float = Field(default=0.2, ge=0, description="how far from 1 a ratio is followed when grades are learnt from")  # fmt: skip

    def require(self, find: Find) -> None:
        """Refuse a method without a judge, half pairs, and other rewards that are not there.

        Raises: ConfigError("no-judge" | "odd-pairs"), and as `rewards.require`.
        """
        if self.judge is None:
            raise ConfigError(
                "no-judge", "rlaif learns from a judge, and method.judge names none",
                hint="stead train RECIPE -s method.judge.url=http://127.0.0.1:8000 -s method.judge.model=NAME",
            )  # fmt: skip
        if self.labels == "preference" and self.num_generations % 2:
            raise ConfigError(
                "odd-pairs",
                f"pairs need an even number of answers, not num_generations={self.num_generations}",
                hint=f"stead train RECIPE -s method.num_generations={self.num_generations + 1}",
            )
        if self.rewards:
            super().require(find)

    def remarks(self, config: RunConfig, model: ModelFacts, data: DataFacts) -> tuple[str, ...]:
        """Name the judge, too."""
        own = () if self.judge is None else (self.judge.remark,)
        return own + super().remarks(config, model, data)

    def try_out(self, columns: Collection[str] | None) -> None:
        """Ask the judge, too."""
        super().try_out(columns)
        if self.judge is not None:
            Judge(self.judge).try_out("method.judge")


class RLAIF(RolloutMethod):
    """Learn from the verdicts of a judge model."""

    config: RLAIFConfig
    reference: ClassVar[Literal["live"]] = "live"
    default_lr: ClassVar[dict[str, float]] = {"full": 5e-7, "lora": 5e-6}

    @property
    def needs_reference(self) -> bool:
        """Both kinds of labels are held back by the starting model."""
        return True

    @property
    def together(self) -> int:
        """A pair is one example."""
        return 2 if self.config.labels == "preference" else 1

    def open_rewards(self, tools: Tools) -> None:
        """Make the judge. Raises: ConfigError("no-judge-key")."""
        c = self.config
        assert c.judge is not None  # noqa: S101 - `require` has seen to it
        self._judge = Judge(c.judge)
        more = Rewards.open(c.rewards, tools.reward_model).parts if c.rewards else []
        grades = [] if c.labels == "preference" else [(JudgeReward("judge", self._judge), 1.0)]
        self._rewards = Rewards([*grades, *more])

    def reward(self, answers: Sequence[Answered]) -> tuple[list[float], Scores]:
        """Ask the judge; of a pair the better one earns 1. Other rewards are added up beside it."""
        total, parts = self._rewards.score(answers)
        if self.config.labels == "grade":
            return total, parts
        pairs = [
            (a.prompt, a.completion, b.completion, a.reference)
            for a, b in zip(answers[::2], answers[1::2], strict=True)
        ]
        won = [float(w) for first in self._judge.prefers_first(pairs) for w in (first, not first)]
        return [t + w for t, w in zip(total, won, strict=True)], parts | {"judge": won}

    def examine(self, tools: Tools) -> dict[str, float]:
        """Grade held-out answers; which of two own answers is better says nothing of either."""
        return {} if self.config.labels == "preference" else super().examine(tools)

    def judge(self, tools: Tools, buffer: Buffer) -> None:
        """Sign the answers of each pair, or compare each graded answer with the others."""
        rewards = np.asarray(buffer.rewards, dtype=np.float64)
        if self.config.labels == "preference":
            first = rewards[::2] > rewards[1::2]
            found = np.stack([first, ~first], axis=1).reshape(-1) * 2.0 - 1.0
        else:
            found = leave_one_out(rewards, self.group)
        buffer.columns["advantage"] = buffer.spread(found)

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum the loss of the pairs, or of the graded answers."""
        part: Rolled = batch["tokens"]  # type: ignore[assignment]  # what `gather` made
        scored = self.score(model, part)
        self.old(part, scored.logp)
        return self._pairs(part, scored) if self.together == 2 else self._graded(part, scored)

    def _pairs(self, part: Rolled, scored: Scored) -> Loss:
        """−log σ(β·margin) per pair, counted for both answers. Source: arXiv:2305.18290 eq. 7."""
        reference = self.column(part, "reference", scored.logp)
        answer, count = self.answer(part, scored.logp), len(part.lengths)
        gain = by_answer(scored.logp - reference, answer, count)
        ends = torch.as_tensor(part.lengths).cumsum(0).to(gain.device) - 1
        sign = self.column(part, "advantage", scored.logp)[ends]
        margin = (gain * sign).view(-1, 2).sum(1)
        loss = -torch.nn.functional.logsigmoid(self.config.beta * margin)
        kl = divergence(scored.logp.detach(), reference, "k3").sum()
        values = self.measured(part, scored, kl=kl)
        values["accuracy"] = 2 * float((margin > 0).sum())
        return Loss(2 * loss.sum(), values)

    def _graded(self, part: Rolled, scored: Scored) -> Loss:
        c, like = self.config, scored.logp
        reference = self.column(part, "reference", like)
        log_ratio = like - self.old(part, like)
        advantage = self.column(part, "advantage", like)
        loss, outside = clipped(log_ratio, advantage, Clip(c.epsilon, c.epsilon))
        loss = loss * self.trust(part, like) + c.beta * divergence(like, reference, "k2")
        answer, count = self.answer(part, like), len(part.lengths)
        per_answer = by_answer(loss, answer, count) / torch.as_tensor(part.lengths).to(like.device)
        kl = divergence(like.detach(), reference, "k3").sum()
        values = self.measured(part, scored, kl=kl, clip_fraction=outside.sum())
        return Loss(per_answer.sum(), values)
