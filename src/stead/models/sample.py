"""Choose the next token of each row from its logits.

Knows nothing about models, caches or text. Legend: B rows, V vocabulary.
A draw is a function of (seed, position in the answer), so a row's answer does not depend on what
else is in its batch, and nothing needs saving.
"""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from stead.core import seeds
from stead.messages import Sampling

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_TEMPERATURE = 1.0  # as the OpenAI API
TopTokens = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one row chooses: `Sampling` with every default filled in."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int
    frequency: float
    presence: float
    repeat: float
    bias: tuple[tuple[int, float], ...]
    logprobs: int | None

    @classmethod
    def of(cls, sampling: Sampling, *, choice: int = 0) -> "Rule":
        """Fill in the defaults; without a seed draw one; `choice` numbers the n answers."""
        seed = secrets.randbits(62) if sampling.seed is None else sampling.seed
        if choice:
            seed = seeds.stream(seed, choice, "choice")
        return cls(
            temperature=_given(sampling.temperature, DEFAULT_TEMPERATURE),
            top_p=_given(sampling.top_p, 1.0),
            top_k=int(_given(sampling.top_k, 0)),
            min_p=_given(sampling.min_p, 0.0),
            seed=seed,
            frequency=_given(sampling.frequency_penalty, 0.0),
            presence=_given(sampling.presence_penalty, 0.0),
            repeat=_given(sampling.repeat_penalty, 1.0),
            bias=tuple((int(k), float(v)) for k, v in sampling.logit_bias.items()),
            logprobs=sampling.logprobs,
        )

    @property
    def is_greedy(self) -> bool:
        """Temperature 0: the likeliest token, no draw."""
        return self.temperature <= 0

    @property
    def changes_logits(self) -> bool:
        """A penalty or bias is on."""
        return bool(self.bias) or (self.frequency, self.presence, self.repeat) != (0.0, 0.0, 1.0)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


@dataclass(frozen=True, slots=True)
class Picked:
    """One chosen token; `logprob` (natural log, before any rule) only where it was asked for."""

    id: int
    logprob: float | None = None
    top: TopTokens = ()


def pick(
    logits_BV: "Tensor",
    rules: Sequence[Rule],
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
) -> list[Picked]:
    """Choose a token per row. Shapes: logits [B, V] in any float type; the rest has B entries."""
    if all(r.is_greedy and not r.changes_logits for r in rules):
        ids = logits_BV.argmax(-1).tolist()
    else:
        ids = [
            _pick_one(logits_BV[i].float(), rules[i], prompts[i], answers[i])
            for i in range(len(rules))
        ]
    if all(r.logprobs is None for r in rules):
        return [Picked(i) for i in ids]
    return _with_logprobs(logits_BV, ids, rules)


def _with_logprobs(logits_BV: "Tensor", ids: list[int], rules: Sequence[Rule]) -> list[Picked]:
    logprobs_BV = torch.log_softmax(logits_BV.float(), -1)
    picked = []
    for row, (i, rule) in enumerate(zip(ids, rules, strict=True)):
        top: TopTokens = ()
        if rule.logprobs:
            values, tokens = logprobs_BV[row].topk(min(rule.logprobs, logprobs_BV.shape[1]))
            top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
        value = None if rule.logprobs is None else float(logprobs_BV[row, i])
        picked.append(Picked(i, value, top))
    return picked


def _pick_one(logits_V: "Tensor", rule: Rule, prompt: Sequence[int], answer: Sequence[int]) -> int:
    if rule.changes_logits:
        logits_V = _penalized(logits_V, rule, prompt, answer)
    if rule.is_greedy:
        return int(logits_V.argmax())
    u = seeds.stream(rule.seed, len(answer), "token") / 2.0**63
    chosen, tokens = candidates(logits_V, rule)
    total = chosen.cumsum(0)
    place = int(torch.searchsorted(total, u * float(total[-1]), right=True))
    return int(tokens[min(place, len(tokens) - 1)])


def candidates(logits_V: "Tensor", rule: Rule) -> tuple["Tensor", "Tensor"]:
    """Return probabilities (not renormalized) and ids of the tokens that may be drawn.

    Order of the filters: temperature, top-k, top-p, min-p, as transformers' generate does.
    Shapes: logits [V]; both results [<= V], likeliest first when a filter is on. float64, so that
    the sum over a large vocabulary is exact enough to draw from.
    """
    probs_V = torch.softmax(logits_V.double() / rule.temperature, -1)
    if not rule.top_k and rule.top_p >= 1 and rule.min_p <= 0:
        return probs_V, torch.arange(len(probs_V), device=probs_V.device)
    kept = len(probs_V) if rule.top_k <= 0 else min(rule.top_k, len(probs_V))
    probs, tokens = probs_V.topk(kept)
    probs = probs / probs.sum()
    if rule.top_p < 1:  # the smallest set that reaches top_p; the likeliest token always stays
        kept = int((probs.cumsum(0) - probs < rule.top_p).sum())
        probs, tokens = probs[: max(1, kept)], tokens[: max(1, kept)]
    if rule.min_p > 0:
        kept = int((probs >= rule.min_p * probs[0]).sum())
        probs, tokens = probs[: max(1, kept)], tokens[: max(1, kept)]
    return probs, tokens


def _penalized(
    logits_V: "Tensor", rule: Rule, prompt: Sequence[int], answer: Sequence[int]
) -> "Tensor":
    """Apply repeat penalty (prompt and answer; Keskar et al. 2019), OpenAI's two, and the bias."""
    logits_V = logits_V.clone()
    if not math.isclose(rule.repeat, 1.0):
        seen = torch.tensor(sorted({*prompt, *answer}), device=logits_V.device)
        old = logits_V[seen]
        logits_V[seen] = torch.where(old > 0, old / rule.repeat, old * rule.repeat)
    if answer and (rule.frequency or rule.presence):
        tokens, counts = torch.tensor(list(answer)).unique(return_counts=True)
        logits_V[tokens] -= (rule.frequency * counts + rule.presence).to(logits_V.device)
    for token, bias in rule.bias:
        logits_V[token] += bias
    return logits_V
