"""One prompt and what has been written for it.

Knows nothing about batches or the model's arithmetic: it takes chosen tokens, keeps the text and
notes when to stop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from stead.core.errors import ModelError
from stead.messages import Sampling
from stead.models.layers import virtual
from stead.models.writing.detokenize import Decode, Detokenizer, StopText
from stead.models.writing.sample import Picked, Rule, TopTokens, pick
from stead.values import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor

_USUAL = 1024  # tokens; answers this long are rare, and room grows when one comes


class Guide(Protocol):
    """What a row may write next; `models/writing/guide` makes it of a schema."""

    def mask(self, size: int) -> "Tensor":
        """Return the allowed tokens. Shapes: bool [size], the width of the logits."""

    def accept(self, token: int) -> bool:
        """Take a chosen token; say whether nothing can follow it."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `ids` are without the stop token; `text` ends before a stop string.

    `logprobs` (natural logs, one per id) and `top` only where `Sampling.logprobs` was given.
    """

    ids: tuple[int, ...]
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: tuple[float, ...] = ()
    top: tuple[TopTokens, ...] = ()


class Row:
    """One prompt and what has been written for it."""

    def __init__(
        self, loaded: LoadedModel, prompt: Sequence[int], sampling: Sampling, choice: int,
        *, decode: Decode | None = None, guide: Guide | None = None, adapter: Any = None,
    ) -> None:  # fmt: skip  # Any: a `lora_set.Lora`, known to whoever computes
        room = context_length(loaded) - len(prompt)
        if not prompt or room < 1:
            raise ModelError(
                "prompt-length",
                f"a prompt of {len(prompt)} tokens does not fit a context of "
                f"{context_length(loaded)} (at least 1 token in, 1 out)",
            )
        self.prompt = list(prompt)
        self.rule = Rule.of(sampling, choice=choice)
        self.limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        self.picked: list[Picked] = []
        self.ids: list[int] = []
        self.shown: list[str] = []
        self.reason: Literal["stop", "length"] | None = None if self.limit > 0 else "length"
        self.ended_by: Picked | None = None  # the stop token, where one was chosen
        self.guide = guide
        self.adapter = adapter
        self.cached = 0  # prompt tokens that were not read again
        self._decode = decoder(loaded) if decode is None else decode
        self._detokenizer = Detokenizer(self._decode)
        self._stop = StopText(sampling.stop)
        self._eager = bool(sampling.stop)

    @property
    def longest(self) -> int:
        """How many tokens the row may have at its end, for reserving memory; capped, as most stop."""
        return len(self.prompt) + min(self.limit, _USUAL)

    def accept(self, picked: Picked, stop_ids: frozenset[int]) -> bool:
        """Take a token unless finished before; say whether it finished the row."""
        if self.reason is not None:
            return False
        if picked.id in stop_ids:
            self.reason, self.ended_by = "stop", picked
            return True
        self.picked.append(picked)
        self.ids.append(picked.id)
        if self._eager:
            self.show()
        written = self.guide is not None and self.guide.accept(picked.id)
        if self._stop.stopped or written:
            self.reason = "stop"
        elif len(self.ids) >= self.limit:
            self.reason = "length"
        return self.reason is not None

    def show(self) -> str:
        """Turn the first id that has not been into text that may be shown."""
        piece = self._stop.push(self._detokenizer.push(self.ids[len(self.shown)]))
        self.shown.append(piece)
        return piece

    def text_of(self, at: int) -> str:
        """Return what the id at a place of the answer lets be shown; ask for all, in order."""
        return self.shown[at] if at < len(self.shown) else self.show()

    def rest(self) -> str:
        """Return the text still held back at the end."""
        if self._stop.stopped:
            return ""
        piece = self._stop.push(self._detokenizer.flush())
        return piece if self._stop.stopped else piece + self._stop.flush()

    def completion(self) -> Completion:
        """Return the finished answer."""
        text = "".join(self.shown) + self.rest() if self._eager else self._decode(self.ids)
        wanted = self.rule.logprobs is not None
        return Completion(
            tuple(self.ids),
            text,
            "length" if self.reason is None else self.reason,
            tuple(p.logprob for p in self.picked if p.logprob is not None) if wanted else (),
            tuple(p.top for p in self.picked) if wanted else (),
        )


def choose(rows: Sequence[Row], logits_BV: "Tensor", stop_ids: frozenset[int]) -> list[bool]:
    """Pick a token for every row by its own rule; say which rows it finished. Shapes: [B, V]."""
    size = logits_BV.shape[1]
    picked = pick(
        logits_BV, [r.rule for r in rows], [r.prompt for r in rows], [r.ids for r in rows],
        [None if r.guide is None else r.guide.mask(size) for r in rows],
    )  # fmt: skip
    return [row.accept(one, stop_ids) for row, one in zip(rows, picked, strict=True)]


def decoder(loaded: LoadedModel) -> Decode:
    """Return ids → text without special tokens and without any clean-up of spaces."""

    def decode(ids: Sequence[int]) -> str:
        return str(
            loaded.tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    return decode


def context_length(loaded: LoadedModel) -> int:
    """Return how many tokens prompt and answer may have together."""
    whole = int(getattr(loaded.model.config, "max_position_embeddings", 1 << 30))
    return whole - virtual.length(loaded.model)
