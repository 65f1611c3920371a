"""Several answers to each prompt for training: token ids with the end token, and log-probabilities.

Knows nothing about rewards. Where every layer is fused (see `fused`) the answers are written by
`decode`, with the very matrices that training uses; else by the model's own code through `generate`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from stead.messages import Sampling
from stead.models.writing import decode
from stead.models.writing.generate import Halt, complete, row, stop_signal
from stead.models.writing.row import Row
from stead.values import LoadedModel


@dataclass(frozen=True, slots=True)
class Written:
    """One answer. `ids` end with the stop token where the model chose one.

    `logprobs`: natural logs under softmax(logits / temperature), before top-p and top-k.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool


def write(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    each: Sequence[Sequence[int]],
    sampling: Sampling,
    stop_ids: Sequence[int],
    *,
    halt: Halt = stop_signal,
) -> list[list[Written]]:
    """Answer every prompt as often as it has seeds; a prompt is read once for all its answers.

    Raises: ModelError("prompt-length"), and what `halt` raises.
    """
    if decode.fits(loaded):
        return [
            [Written(*one) for one in group]
            for group in decode.write(loaded, prompts, each, sampling, stop_ids, halt)
        ]
    asked = replace(sampling, logprobs=0)
    rows = [
        [row(loaded, prompt, replace(asked, seed=seed)) for seed in own]
        for prompt, own in zip(prompts, each, strict=True)
    ]
    complete(loaded, [r for group in rows for r in group], stop_ids=stop_ids, halt=halt)
    plain = sampling.temperature in (None, 1.0)
    return [[_written(r, known=plain) for r in group] for group in rows]


def _written(one: Row, *, known: bool) -> Written:
    """Read a finished row; `known`: its log-probabilities are those of the drawn distribution."""
    picked = [*one.picked, *([one.ended_by] if one.ended_by is not None else [])]
    logs = [p.logprob if known and p.logprob is not None else math.nan for p in picked]
    return Written(tuple(p.id for p in picked), tuple(logs), one.ended_by is not None)
