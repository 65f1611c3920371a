"""Tokens to text piece by piece: never half a character, never past a stop string.

Knows nothing about models. Works for any tokenizer with `decode`, byte-level and sentence-piece.
"""

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]
_HALF = "\ufffd"  # what a decoder makes of an unfinished UTF-8 sequence


class Detokenizer:
    """Turn a growing list of ids into text; the pieces add up to the whole text.

    The last few ids are decoded again with each new one, because a token's text can depend on its
    left neighbor (leading spaces). Method of text-generation-inference, `decode_token`.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._start = 0  # first id that is decoded again
        self._done = 0  # ids before this one are out

    def push(self, token: int) -> str:
        """Add an id; return the text that is now certain, maybe ""."""
        self._ids.append(token)
        before = self._decode(self._ids[self._start : self._done])
        now = self._decode(self._ids[self._start :])
        if len(now) <= len(before) or now.endswith(_HALF):
            return ""
        self._start, self._done = self._done, len(self._ids)
        return now[len(before) :]

    def flush(self) -> str:
        """Return what was held back, incomplete characters included."""
        before = self._decode(self._ids[self._start : self._done])
        now = self._decode(self._ids[self._start :])
        self._start = self._done = len(self._ids)
        return now[len(before) :]


class StopText:
    """Hold back text that could be the beginning of a stop string; cut at the first one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(s for s in stops if s)
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """Add text; return what may be shown. After a stop string nothing more comes."""
        if self.stopped:
            return ""
        self._held += piece
        found = [at for at in map(self._held.find, self._stops) if at >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown = self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return shown

    def flush(self) -> str:
        """Return what was held back; it was no stop string after all."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop` without being all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
