"""Signs that a reward is being gamed, measured on the answers of each step.

Knows nothing about models or when to warn; `callbacks/reward_hacking` compares the signs with the
run's own beginning. Each sign is a mean over answers, from 0 (never) to 1 (always).
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from pydantic import Field

from stead.config.kinds import Section
from stead.training.rl.reward_source import Answered

_GRAM = 6  # characters: shorter pieces occur in both texts by chance
_WORD = re.compile(r"\S+")
_SHORT = 2  # words; below this an answer says nothing that could repeat


class WatchSettings(Section):
    """When to warn: the reward rose while an answer's sign of gaming rose beyond a bound."""

    enabled: bool = Field(default=True, description="watch for games with the reward")
    warmup: int = Field(default=5, gt=1, description="steps whose mean is the beginning to compare with")  # fmt: skip
    decay: float = Field(default=0.8, ge=0, lt=1, description="weight of the past in the running mean of a sign")  # fmt: skip
    rise: float = Field(default=0.3, gt=0, description="how far above its beginning a sign must be")
    bound: float = Field(default=0.5, gt=0, le=1, description="how high a sign must be, from 0 to 1")  # fmt: skip
    longer: float = Field(default=1.8, gt=1, description="answers this many times as long as at the beginning are a sign")  # fmt: skip
    kl: float = Field(default=2.0, gt=0, description="distance to the reference, nats per token, that is a sign")  # fmt: skip
    sigmas: float = Field(default=2.0, ge=0, description="how far the reward must rise, in deviations of its beginning")  # fmt: skip


def signs(answers: Sequence[Answered], ids: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return the mean signs of one step's answers; `ids` are their tokens.

    repetition: token pairs that came before; empty: nothing said; copy: pieces taken from the
    prompt; digits, marks: characters that are digits, or neither letter, digit nor space; keyword:
    share of the step's commonest word; same: answers that another answer of the step equals.
    """
    texts = [a.completion for a in answers]
    counts = Counter(texts)
    return {
        "repetition": _mean(_repetition(one) for one in ids),
        "empty": _mean(float(not t.strip()) for t in texts),
        "copy": _mean(_copied(a.completion, a.prompt) for a in answers),
        "digits": _mean(_share(t, str.isdigit) for t in texts),
        "marks": _mean(_share(t, lambda c: not c.isalnum() and not c.isspace()) for t in texts),
        "keyword": _keyword(texts),
        "same": _mean(float(counts[t] > 1) for t in texts),
    }


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _repetition(ids: Sequence[int]) -> float:
    pairs = list(itertools.pairwise(ids))
    return 1.0 - len(set(pairs)) / len(pairs) if pairs else 0.0


def _copied(text: str, prompt: str) -> float:
    pieces = {text[i : i + _GRAM] for i in range(len(text) - _GRAM + 1)}
    return sum(p in prompt for p in pieces) / len(pieces) if pieces else 0.0


def _share(text: str, is_one: Callable[[str], bool]) -> float:
    return sum(map(is_one, text)) / len(text) if text else 0.0


def _keyword(texts: Sequence[str]) -> float:
    words = [_WORD.findall(t) for t in texts]
    counts = Counter(w for each in words for w in set(each))
    if not counts:
        return 0.0
    common = max(counts, key=lambda w: (counts[w], w))
    return _mean(each.count(common) / len(each) for each in words if len(each) >= _SHORT)
