"""Which tokens are trained: character spans to a token mask, and the invariants that must hold.

Knows nothing about templates or files. A token is trained when it holds a character of a span and
nothing outside it but white space (" Hello" after "answer:" is trained; a token that joins the
user's last letter with the answer's first is not, and is counted).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter

from stead.data.tokenizer import Encoding, TextTokenizer

Span = tuple[int, int]
_START, _END = itemgetter(0), itemgetter(1)


@dataclass(frozen=True, slots=True)
class Masked:
    """Token ids with one byte each: 1 = trained.

    `straddling` counts tokens left out because they join trained and untrained text; `silent` counts
    spans without a trained token; `endless` counts spans whose last token is no stop token.
    """

    ids: list[int]
    mask: bytearray
    straddling: int = 0
    silent: int = 0
    endless: int = 0


def mask_tokens(
    text: str, encoding: Encoding, spans: Sequence[Span], stop_ids: Collection[int] = ()
) -> Masked:
    """Return the mask of an encoded text. Spans ascend and do not overlap."""
    places = encoding.offsets
    mask = bytearray(len(places))
    straddling = silent = endless = 0
    for start, end in spans:
        low = bisect_right(places, start, key=_END)
        high = bisect_left(places, end, key=_START)
        mask[low:high] = b"\1" * (high - low)
        for i in {low, high - 1} if low < high else ():
            first, last = places[i]
            outside = text[first : min(start, last)] + text[max(end, first) : last]
            if outside.strip():
                mask[i] = 0
                straddling += 1
        silent += not any(mask[low:high])
        endless += low >= high or not mask[high - 1] or encoding.ids[high - 1] not in stop_ids
    return Masked(encoding.ids, mask, straddling, silent, endless)


def with_bos(masked: Masked, bos_id: int) -> Masked:
    """Put an untrained BOS in front, unless the ids begin with it already."""
    if masked.ids[:1] == [bos_id]:
        return masked
    mask = bytearray(1) + masked.mask
    return Masked([bos_id, *masked.ids], mask, masked.straddling, masked.silent, masked.endless)


def chat_needs_bos(tokenizer: TextTokenizer, *, is_default_template: bool) -> bool:
    """Say whether BOS must be put before a rendered chat.

    A model's own template writes BOS itself where the model wants one, and transformers adds nothing
    to it; only for our default template the tokenizer's rule decides.
    """
    return is_default_template and tokenizer.adds_bos and tokenizer.bos_id is not None


def trained_text(pieces: Sequence[str], mask: Sequence[int]) -> list[tuple[str, bool]]:
    """Join the tokens' texts into (piece, trained?), for showing. A row's first token is no label."""
    joined: list[tuple[str, bool]] = []
    for number, (piece, flag) in enumerate(zip(pieces, mask, strict=True)):
        trained = bool(flag) and number > 0
        if joined and joined[-1][1] == trained:
            joined[-1] = (joined[-1][0] + piece, trained)
        else:
            joined.append((piece, trained))
    return joined
