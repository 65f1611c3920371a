"""Guesses of a row's next tokens from what it has read and written: what came after the same words before.

Knows nothing about models: a guess is checked by whoever computes. No second model is asked (prompt
lookup, as transformers' `prompt_lookup_num_tokens`; speculative decoding in general: arXiv:2211.17192).
"""

from collections.abc import Sequence
from dataclasses import dataclass

_GRAMS = (4, 2)  # tokens that must be equal; longer ones are tried first
_LEAST, _MOST = 2, 15  # tokens of one guess
_FIRST = 4
_LONGEST_REST = 64  # steps without a guess after many wrong ones


@dataclass(slots=True)
class Guesses:
    """How many tokens were guessed, and how many of them were right, since the start."""

    drafted: int = 0
    accepted: int = 0


class Draft:
    """The guesser of one row: how much it dares follows from how often it was right."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # place after the newest such words
        self._known = 0  # ids before this place are in `_after` as ends of words
        self._size = _FIRST
        self._wrong = 0  # guesses in a row of which nothing was right
        self._rest = 0

    def guess(self, prompt: Sequence[int], answer: Sequence[int], most: int) -> list[int]:
        """Return at most `most` tokens that may come next; [] where nothing is to be expected."""
        if self._rest > 0:
            self._rest -= 1
            return []
        most = min(most, self._size)
        if most < 1:
            return []
        self._learn(prompt, answer)
        place = next((p for p in map(self._look, _GRAMS) if p is not None), None)
        if place is None:
            return []
        ids, guessed = self._ids, list[int]()
        for at in range(place, place + most):  # a guess longer than the repeated part repeats it
            guessed.append(ids[at] if at < len(ids) else guessed[at - len(ids)])
        return guessed

    def judge(self, guessed: int, right: int) -> None:
        """Take note of how many tokens of the last guess were right."""
        if right == guessed:
            self._wrong, self._size = 0, min(_MOST, 2 * max(self._size, 1))
            return
        self._size = max(_LEAST, min(_MOST, right + 1))
        self._wrong = self._wrong + 1 if right == 0 else 0
        if self._wrong:
            self._rest = min(_LONGEST_REST, 2**self._wrong)

    def _learn(self, prompt: Sequence[int], answer: Sequence[int]) -> None:
        """Take in what is new; the last words are only looked up, or they would be found themselves."""
        ids = self._ids
        if not ids:
            ids += prompt
        ids += answer[len(ids) - len(prompt) :]
        for end in range(self._known + 1, len(ids)):
            for n in _GRAMS:
                if end >= n:
                    self._after[tuple(ids[end - n : end])] = end
        self._known = max(self._known, len(ids) - 1)

    def _look(self, n: int) -> int | None:
        return self._after.get(tuple(self._ids[-n:])) if len(self._ids) > n else None
