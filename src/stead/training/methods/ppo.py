"""PPO: a value head says what could be expected at each token; clipped ratios learn the difference.

Knows nothing about adapters or optimizers. The head reads the policy's own hidden states, is trained
beside the adapter with its own learning rate, and is not part of the finished model. Source:
arXiv:1707.06347; advantages: 1506.02438; the distance in the reward: 1909.08593 section 2.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.core.lazy import lazy
from stead.training.method import Columns, Loss, Model, Tools
from stead.training.rl.advantages import generalized, whiten
from stead.training.rl.policy import Clip, Estimator, clipped, clipped_value_loss, divergence
from stead.training.rl.rollout import RolloutMethod, asked
from stead.training.rl.rollout_buffer import Buffer, Rolled
from stead.training.rl.settings import RolloutConfig

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy("numpy", extra="data")
    torch = lazy("torch", extra="train")


class PPOConfig(RolloutConfig):
    """Names and defaults as TRL's PPOConfig where it has them; `num_iterations` is its num_ppo_epochs."""

    type: Literal["ppo"] = "ppo"
    num_generations: int = Field(default=1, gt=0, description="answers written per prompt")
    num_iterations: int = Field(default=4, gt=0, description="times the answers of a step are learnt from")  # fmt: skip
    kl_coef: float = Field(default=0.05, ge=0, description="weight of the distance to the starting model, taken off each token's reward")  # fmt: skip
    kl_estimator: Estimator = Field(default="k1", description="how that distance is estimated from the drawn tokens")  # fmt: skip
    cliprange: float = Field(default=0.2, ge=0, description="how far from 1 a ratio is followed")
    cliprange_value: float = Field(default=0.2, ge=0, description="how far a value may move from the old one in a step")  # fmt: skip
    vf_coef: float = Field(default=0.1, ge=0, description="weight of the value head's loss")
    value_rate: float = Field(default=10.0, gt=0, description="learning rate of the value head, as a multiple of the run's")  # fmt: skip
    gamma: float = Field(default=1.0, ge=0, le=1, description="how much a later token's reward counts")  # fmt: skip
    lam: float = Field(default=0.95, ge=0, le=1, description="how far advantages look ahead before they trust the value head")  # fmt: skip
    whiten_rewards: bool = Field(default=False, description="give the step's token rewards variance 1")  # fmt: skip
    missing_eos_penalty: float | None = Field(default=None, gt=0, description="taken off the reward of answers that were cut at the limit")  # fmt: skip


class PPO(RolloutMethod):
    """Learn from scores with a second network that predicts them.

    Proximal policy optimization.
    """

    config: PPOConfig
    unit: ClassVar[str] = "answer tokens"
    reference: ClassVar[Literal["live"]] = "live"
    default_lr: ClassVar[dict[str, float]] = {"full": 1.41e-6, "lora": 1.41e-5}  # TRL's examples

    @property
    def needs_reference(self) -> bool:
        """The starting model is asked only when its distance has a weight."""
        return self.config.kl_coef > 0

    def setup(self, tools: Tools) -> None:
        """Make the value head: 0 everywhere, so that it begins by expecting nothing."""
        super().setup(tools)
        size = tools.loaded.model.config.get_text_config().hidden_size
        device = tools.loaded.device
        self._value = {
            "value.weight": torch.nn.Parameter(torch.zeros(1, size, device=device)),
            "value.bias": torch.nn.Parameter(torch.zeros(1, device=device)),
        }

    def parameters(self) -> "dict[str, torch.nn.Parameter]":
        """The value head."""
        return self._value

    def rate(self, name: str) -> float:
        """Return the value head's multiple of the learning rate."""
        return self.config.value_rate

    def judge(self, tools: Tools, buffer: Buffer) -> None:
        """Give each token its reward, value, advantage and return."""
        c = self.config
        values = self._values(tools, buffer)
        rewards = self._token_rewards(tools, buffer)
        if c.whiten_rewards:
            rewards = whiten(rewards, shift=False)
        advantage, target = np.zeros(len(values)), np.zeros(len(values))
        for i in range(len(buffer.answers)):
            own = buffer.tokens(i)
            advantage[own], target[own] = generalized(rewards[own], values[own], c.gamma, c.lam)
        buffer.columns["value"] = values
        buffer.columns["target"] = target.astype(np.float32)
        buffer.columns["advantage"] = whiten(advantage).astype(np.float32)
        spread = float(target.var())
        if spread > 0:
            buffer.values["explained_variance"] = 1 - float((target - values).var()) / spread

    def _token_rewards(self, tools: Tools, buffer: Buffer) -> Any:  # Any: float64 [N]
        """Return minus the distance at each token, and the answer's reward at its last one."""
        c = self.config
        scores = np.asarray(buffer.rewards, dtype=np.float64)
        if c.missing_eos_penalty is not None:
            scores = scores - c.missing_eos_penalty * ~buffer.ended
        rewards = np.zeros(int(buffer.ends[-1]))
        if self.needs_reference:
            written = torch.from_numpy(self.sampled(tools, buffer))
            reference = torch.from_numpy(buffer.columns["reference"])
            rewards -= c.kl_coef * divergence(written, reference, c.kl_estimator).double().numpy()
        rewards[buffer.ends - 1] += scores
        return rewards

    def _values(self, tools: Tools, buffer: Buffer) -> Any:  # Any: float32 [N]
        def read(model: Model, part: Rolled) -> "Tensor":
            return self._value_of(self.hidden(model, part))

        return self.over(tools, buffer, partial(asked, tools), read)

    def _value_of(self, hidden_NE: "Tensor") -> "Tensor":
        """Return the head's values. Shapes: [N, E] → float32 [N]."""
        weight, bias = self._value["value.weight"], self._value["value.bias"]
        return torch.nn.functional.linear(hidden_NE.float(), weight, bias).squeeze(1)

    def weights(self, part: Rolled) -> float:
        """Count the tokens that are learnt from."""
        return float(self.kept_tokens(part).sum())

    def loss(self, model: Model, batch: Columns) -> Loss:
        """Sum the clipped objective and the value loss over the tokens."""
        part: Rolled = batch["tokens"]  # type: ignore[assignment]  # what `gather` made
        scored = self.score(model, part)
        c, like = self.config, scored.logp
        log_ratio = like - self.old(part, like)
        clip = Clip(c.cliprange, c.cliprange)
        policy, outside = clipped(log_ratio, self.column(part, "advantage", like), clip)
        policy = policy * self.trust(part, like)
        value, moved = clipped_value_loss(
            self._value_of(scored.hidden), self.column(part, "value", like),
            self.column(part, "target", like), c.cliprange_value,
        )  # fmt: skip
        sums = {
            "clip_fraction": outside.sum(), "ratio": log_ratio.exp().sum(),
            "policy_loss": policy.sum(), "value_loss": value.sum(), "value_clip_fraction": moved.sum(),
        }  # fmt: skip
        if self.needs_reference:
            reference = self.column(part, "reference", like)
            sums["kl"] = divergence(like.detach(), reference, "k3").sum()
        kept = self.kept_tokens(part).to(like.device)
        total = ((policy + c.vf_coef * value) * kept).sum()
        return Loss(total, self.measured(part, scored, **sums))
