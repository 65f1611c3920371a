"""Keys and values of prompts' beginnings, kept for the next prompt that begins alike.

Knows nothing about the model. Pieces have fixed places, so a piece found here is, to the bit, what
reading it again would give. The least recently used leave first.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

PIECE = 128  # tokens


class Prefixes:
    """Pieces by the tokens up to their end and by adapter. Use from one thread."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[bytes, tuple[Any, Tensor]] = OrderedDict()
        self.bytes: int = 0

    def find(self, adapter: Any, ids: Sequence[int]) -> "list[Tensor]":  # Any: a Lora or None
        """Return the pieces that `ids` begins with, but never its last token: that has to be read."""
        found = []
        for key in _keys(adapter, ids[: (len(ids) - 1) // PIECE * PIECE]):
            if key not in self._kept:
                break
            self._kept.move_to_end(key)
            found.append(self._kept[key][1])
        return found

    def keep(self, adapter: Any, ids: Sequence[int], part: "Tensor") -> None:
        """Keep a copy of the last piece of `ids`, whose length is a multiple of a piece."""
        key = _keys(adapter, ids)[-1]
        if key in self._kept or part.nbytes > self._limit:
            return
        while self.bytes + part.nbytes > self._limit and self.forget_one():
            pass
        self._kept[key] = (adapter, part.clone())  # holding the adapter keeps its id from reuse
        self.bytes += part.nbytes

    def forget_one(self) -> bool:
        """Let the least recently used piece go; say whether there was one."""
        if not self._kept:
            return False
        _, (_, part) = self._kept.popitem(last=False)
        self.bytes -= part.nbytes
        return True


def _keys(adapter: Any, ids: Sequence[int]) -> list[bytes]:
    """Return a key for each piece: a hash of the adapter and all tokens up to the piece's end."""
    state = hashlib.sha256(id(adapter).to_bytes(8, "little"))
    found = []
    for begin in range(0, len(ids), PIECE):
        state.update(b"".join(i.to_bytes(4, "little") for i in ids[begin : begin + PIECE]))
        found.append(state.digest())
    return found
