"""Settings of every method that learns from its own answers.

Knows nothing about how answers are written, rewarded or learnt from.
"""

from collections.abc import Collection

from pydantic import Field

from stead.config.run import RunConfig
from stead.planning.facts import DataFacts, ModelFacts
from stead.training.method import Find, MethodConfig
from stead.training.rl.reward_signs import WatchSettings
from stead.training.rl.rewards import RewardSpec, require, require_rows, try_out
from stead.training.rl.sources import SamplerSettings


class RolloutConfig(MethodConfig):
    """Names and defaults as in TRL where it has them."""

    rewards: tuple[RewardSpec, ...] = Field(default=(), description="what an answer earns: scorers, functions, reward models, judges")  # fmt: skip
    num_generations: int = Field(default=8, gt=0, description="answers written per prompt")
    max_completion_length: int = Field(default=256, gt=0, description="tokens an answer may have")
    max_prompt_length: int | None = Field(default=None, gt=0, description="longer prompts lose their beginning; default: what the context leaves")  # fmt: skip
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature; log-probabilities use it too")  # fmt: skip
    top_p: float = Field(default=1.0, gt=0, le=1, description="sample from the likeliest tokens with this much probability")  # fmt: skip
    top_k: int = Field(default=0, ge=0, description="sample from this many likeliest tokens; 0: all")  # fmt: skip
    min_p: float = Field(default=0.0, ge=0, le=1, description="sample only tokens with this share of the likeliest one's probability")  # fmt: skip
    num_iterations: int = Field(default=1, gt=0, description="times the answers of a step are learnt from")  # fmt: skip
    steps_per_generation: int = Field(default=1, gt=0, description="optimizer steps that share one generation, each on its part of the prompts")  # fmt: skip
    mask_truncated_completions: bool = Field(default=False, description="do not learn from answers that were cut at the limit")  # fmt: skip
    micro_batch_tokens: int = Field(default=4096, gt=0, description="tokens of answers and prompts computed at once in a training pass")  # fmt: skip
    sampler: SamplerSettings | None = Field(default=None, description="the engine that writes the answers; default: the trained weights in this process")  # fmt: skip
    eval_prompts: int = Field(default=64, gt=0, description="held-out prompts that are answered, once each, at every evaluation")  # fmt: skip
    watch: WatchSettings = Field(default=WatchSettings(), description="warn when the reward is being gamed")  # fmt: skip

    def require(self, find: Find) -> None:
        """Refuse a method without rewards, and rewards that are not there."""
        require(self.rewards, find)

    def require_rows(self, rows: DataFacts, source: str) -> None:
        """Refuse rewards that ask for what the rows do not have."""
        require_rows(self.rewards, rows, source)

    def remarks(self, config: RunConfig, model: ModelFacts, data: DataFacts) -> tuple[str, ...]:
        """Say that judges are asked by the run only."""
        judges = [r.judge for r in self.rewards if r.judge is not None]
        return tuple(judge.remark for judge in judges)

    def try_out(self, columns: Collection[str] | None) -> None:
        """Import the rewards' functions and ask their judges once."""
        try_out(self.rewards, columns)
