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
from stead.models.exponentials import exponentials

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 8  # rows drawn at once: 1 MB of float32 at 32,000 words, stays in a core's cache
_WIDTH = 128  # weights added up one by one after their block is found
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
        seed = secrets.randbits(62) if sampling.seed is None else _folded(sampling.seed)
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
    def filters(self) -> tuple[float, float, int, float]:
        """What rows must share to be drawn together."""
        return (self.temperature, self.top_p, self.top_k, self.min_p)

    def point(self, position: int) -> float:
        """Return the number in [0, 1) that decides the token at a position of the answer."""
        return seeds.stream(self.seed, position, "token") / 2.0**63

    @property
    def changes_logits(self) -> bool:
        """A penalty or bias is on."""
        return bool(self.bias) or (self.frequency, self.presence, self.repeat) != (0.0, 0.0, 1.0)


def _folded(seed: int) -> int:
    """Return a seed of 64 bits: whole numbers in JSON have no end."""
    return (seed + 2**63) % 2**64 - 2**63


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
    masks: "Sequence[Tensor | None]" = (),
) -> list[Picked]:
    """Choose a token per row. Shapes: logits [B, V] in any float type; the rest has B entries.

    A mask [V] (bool) leaves a row only its true tokens; log-probabilities are those without it.
    """
    free_BV, logits_BV = logits_BV, _masked(logits_BV, masks)
    if all(r.is_greedy and not r.changes_logits for r in rules):
        ids = logits_BV.argmax(-1).tolist()
    elif not any(r.changes_logits for r in rules) and len({r.filters for r in rules}) == 1:
        ids = _draw_by(rules[0], logits_BV, [r.point(len(a)) for r, a in zip(rules, answers, strict=True)])  # fmt: skip
    else:
        ids = [
            _pick_one(logits_BV[i].float(), rules[i], prompts[i], answers[i])
            for i in range(len(rules))
        ]
    if all(r.logprobs is None for r in rules):
        return [Picked(i) for i in ids]
    return _with_logprobs(free_BV, ids, rules)


def _masked(logits_BV: "Tensor", masks: "Sequence[Tensor | None]") -> "Tensor":
    if all(mask is None for mask in masks):
        return logits_BV
    masked_BV = logits_BV.float().clone()
    for i, mask in enumerate(masks):
        if mask is not None:
            masked_BV[i].masked_fill_(~mask.to(masked_BV.device), -torch.inf)
    return masked_BV


def _draw_by(rule: Rule, logits_BV: "Tensor", points: Sequence[float]) -> list[int]:
    return draw(
        logits_BV, points, temperature=rule.temperature, top_k=rule.top_k, top_p=rule.top_p,
        min_p=rule.min_p,
    ).ids  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token per row and its log-probability under softmax(logits / temperature), unfiltered."""

    ids: list[int]
    logprobs: list[float]


def draw(
    logits_BV: "Tensor",
    points: Sequence[float],
    *,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Drawn:
    """Draw a token per row by its point in [0, 1): the place in the summed probabilities.

    Shapes: logits [B, V], points [B]. A row's token does not depend on the other rows. A temperature
    of 0 takes the likeliest token. Source: inverse transform sampling (Devroye 1986, section II.2).
    """
    if temperature <= 0:
        ids_B = logits_BV.argmax(-1)
        logs_B = torch.log_softmax(logits_BV.float(), -1).gather(1, ids_B[:, None]).squeeze(1)
        return Drawn(ids_B.tolist(), logs_B.tolist())
    point_B = torch.tensor(points, dtype=torch.float64, device=logits_BV.device)
    filtered = bool(top_k) or (top_p is not None and top_p < 1) or bool(min_p)
    ids: list[Tensor] = []
    logs: list[Tensor] = []
    for part_nV, point_n in zip(logits_BV.split(_BLOCK), point_B.split(_BLOCK), strict=True):
        weights, total, shift, x = exponentials(part_nV, temperature)
        if filtered:
            chosen = _filtered(weights, point_n, top_k, top_p, min_p)
        else:
            chosen = _place(weights, point_n)
        ids.append(chosen)
        logs.append((x.gather(1, chosen[:, None]) - shift - total.log()).squeeze(1))
    return Drawn(torch.cat(ids).tolist(), torch.cat(logs).tolist())


def _place(weights_BV: "Tensor", point_B: "Tensor") -> "Tensor":
    """Return where each row's running sum passes its point.

    Sums of blocks come first, then the place inside one. Only the block's numbers are added up one by one, in float64.
    """
    B, V = weights_BV.shape
    width = min(_WIDTH, V)
    more = -V % width
    padded = torch.nn.functional.pad(weights_BV, (0, more)) if more else weights_BV
    blocks_BCW = padded.view(B, -1, width)
    sums_BC = blocks_BCW.sum(-1).double()
    block_B, low_B = _passing(sums_BC, point_B * sums_BC.sum(-1))
    inside_BW = blocks_BCW[torch.arange(B, device=block_B.device), block_B].double()
    found_B, _ = _passing(inside_BW, low_B)
    return block_B * width + found_B


def _passing(weights_BN: "Tensor", wanted_B: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Return the first place whose running sum is above `wanted`, and what is wanted inside it.

    Rounding may leave `wanted` at the whole sum: then it is the last place with any weight.
    """
    total_BN = weights_BN.cumsum(-1)
    last_B = (total_BN < total_BN[:, -1:]).sum(-1)
    place_B = torch.minimum((total_BN <= wanted_B[:, None]).sum(-1), last_B)
    before_B = (total_BN - weights_BN).gather(1, place_B[:, None]).squeeze(1)
    return place_B, (wanted_B - before_B).clamp(min=0)


def _filtered(
    weights_BV: "Tensor", point_B: "Tensor", top_k: int | None, top_p: float | None,
    min_p: float | None,
) -> "Tensor":  # fmt: skip
    """Draw among the tokens that the filters leave."""
    probs, tokens = candidates(weights_BV, top_k=top_k, top_p=top_p, min_p=min_p)
    place_B, _ = _passing(probs, point_B * probs.sum(-1))
    return tokens.gather(1, place_B[:, None]).squeeze(1)


def candidates(
    weights_BV: "Tensor", *, top_k: int | None = None, top_p: float | None = None,
    min_p: float | None = None,
) -> tuple["Tensor", "Tensor"]:  # fmt: skip
    """Return probabilities (not renormalized, 0 where filtered out) and ids, likeliest first.

    Order of the filters: temperature (in the weights already), top-k, top-p, min-p, as
    transformers' generate does. Shapes: weights [B, V]; both results [B, <= V]. float64, so that
    the sum over a large vocabulary is exact enough to draw from.
    """
    V = weights_BV.shape[1]
    probs, tokens = (
        (weights_BV / weights_BV.sum(-1, keepdim=True)).double().topk(min(top_k, V) if top_k else V)
    )
    probs = probs / probs.sum(-1, keepdim=True)
    kept = torch.ones_like(probs, dtype=torch.bool)
    if top_p is not None and top_p < 1:  # the smallest set that reaches top_p
        kept &= probs.cumsum(-1) - probs < top_p
    if min_p:
        kept &= probs >= min_p * probs[:, :1]
    kept[:, 0] = True  # the likeliest token always stays
    return probs * kept, tokens


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
    return _draw_by(rule, logits_V[None], [rule.point(len(answer))])[0]


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
