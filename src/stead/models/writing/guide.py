"""Which tokens may come next, so that the text becomes what a grammar allows: masks over a vocabulary.

Knows nothing about schemas or sampling. A token is allowed when all its bytes may follow. Tokens that are
harmless inside any string are known beforehand; the others are followed through a tree of bytes, and the
mask of a state is made once. Method: arXiv:2307.09702, with a stack instead of a regular expression.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from stead.core.errors import UsageError
from stead.data.tokenizer import TextTokenizer
from stead.models.writing.json_states import Grammar, State

_KEPT = 512  # masks of a grammar; each is a byte per token
_SPECIAL = frozenset(b'"\\')


class _Branch:
    """A node of the tree: the tokens that end here and the bytes that go on."""

    __slots__ = ("inner", "tokens")

    def __init__(self) -> None:
        self.inner: dict[int, _Branch] = {}
        self.tokens: list[int] = []

    def put(self, piece: bytes, token: int) -> None:
        branch = self
        for byte in piece:
            branch = branch.inner.setdefault(byte, _Branch())
        branch.tokens.append(token)


class Vocabulary:
    """A model's tokens as bytes. Making it takes about a second for 150,000 tokens; it is then shared.

    `banned` never come: special tokens. Raises: UsageError("no-constraint") when some ASCII character
    has no token of its own, since a text could then not always be ended.
    """

    def __init__(self, pieces: Sequence[bytes | None], stop_ids: Sequence[int]) -> None:
        self.pieces = list(pieces)
        self.stop_ids = list(stop_ids)
        self.all, self.odd = _Branch(), _Branch()
        size = len(self.pieces)
        self.plain = torch.zeros(size, dtype=torch.bool)
        self.characters = torch.zeros(size, dtype=torch.int32)
        for token, piece in enumerate(self.pieces):
            if piece:
                self._place(token, piece)
        single = {p for p in self.pieces if p is not None and len(p) == 1}
        missing = [chr(b) for b in range(0x20, 0x7F) if bytes((b,)) not in single]
        if missing:
            raise UsageError(
                "no-constraint",
                f"this model's tokenizer has no token for {missing[0]!r} alone, so JSON cannot be kept",
                param="response_format",
            )

    def _place(self, token: int, piece: bytes) -> None:
        self.all.put(piece, token)
        try:
            text = piece.decode()
        except UnicodeDecodeError:
            text = ""  # half of a character
        if text and not any(b < 0x20 or b in _SPECIAL for b in piece):
            self.plain[token], self.characters[token] = True, len(text)
        else:
            self.odd.put(piece, token)

    @classmethod
    def of(cls, tokenizer: TextTokenizer) -> "Vocabulary":
        """Read the tokens of a tokenizer."""
        return cls(tokenizer.byte_pieces(), tokenizer.stop_ids)


class Masks:
    """The masks of one grammar over one vocabulary. Use from one thread."""

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary) -> None:
        self.grammar, self._words = grammar, vocabulary
        self._kept: OrderedDict[int, tuple[State, Tensor]] = OrderedDict()

    def of(self, state: State, size: int) -> Tensor:
        """Return what may follow a state. Shapes: bool [size]."""
        key = id(state)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        mask = torch.zeros(size, dtype=torch.bool)
        allowed, tree = self._strings(state, mask)
        _follow(state, tree, allowed)
        if state.accepts:
            allowed += self._words.stop_ids
        mask[torch.tensor([i for i in allowed if i < size], dtype=torch.long)] = True
        self._kept[key] = (state, mask)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return mask

    def _strings(self, state: State, mask: Tensor) -> "tuple[list[int], _Branch]":
        """Allow the plain tokens at once where the text stands in a string; return what to follow."""
        rooms = state.strings()
        words = self._words
        if not rooms or (None not in rooms and len(rooms) < len(state.stacks)):
            return [], words.all
        count = min(len(mask), len(words.plain))
        fitting = words.plain[:count]
        if None not in rooms:
            most = max(room for room in rooms if room is not None)
            fitting = fitting & (words.characters[:count] <= most)
        mask[:count] = fitting
        return [], words.odd

    def piece(self, token: int) -> bytes:
        """Return a token's bytes; b"" for one that writes nothing."""
        pieces = self._words.pieces
        found = pieces[token] if token < len(pieces) else None
        return b"" if found is None else found


def _follow(state: State, branch: _Branch, allowed: list[int]) -> None:
    todo = [(state, branch)]
    while todo:
        at, tree = todo.pop()
        for byte, inner in tree.inner.items():
            after = at.step(byte)
            if after is not None:
                allowed += inner.tokens
                if inner.inner:
                    todo.append((after, inner))


class SchemaGuide:
    """One row's way through a grammar: the real `row.Guide`."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._state = masks.grammar.start()

    def mask(self, size: int) -> Tensor:
        """Return the allowed tokens. Shapes: bool [size]."""
        return self._masks.of(self._state, size)

    def accept(self, token: int) -> bool:
        """Take a chosen token; say whether the text is complete and nothing can follow."""
        for byte in self._masks.piece(token):
            after = self._state.step(byte)
            if after is None:
                return True  # only a mask that was not applied could lead here
            self._state = after
        return self._state.is_over
