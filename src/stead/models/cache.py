"""Keys and values of a running batch: room ahead for new tokens, rows and columns that can leave.

Knows nothing about sampling. transformers' own growing cache copies everything at each token; this
one writes in place. Layers with a cache of their own kind (sliding window, linear) keep it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

_ROOM = 128  # tokens reserved ahead; a larger step copies less often and holds more


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types here
    """One layer's keys and values in a buffer longer than they are.

    Shapes: `keys` and `values` are views [B, heads, tokens, dim] of the buffers. The first `head`
    columns are shared by all rows and never leave: virtual tokens.
    """

    head = 0

    def lazy_initialization(self, key_states: "Tensor", value_states: "Tensor") -> None:
        """Reserve the first buffers."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._tokens = 0
        self._keys = _room(key_states, 0)
        self._values = _room(value_states, 0)
        self.is_initialized = True

    def update(
        self, key_states: "Tensor", value_states: "Tensor", *_args: object, **_kwargs: object
    ) -> tuple["Tensor", "Tensor"]:
        """Append the new tokens; return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self._tokens, self._tokens + key_states.shape[-2]
        if end > self._keys.shape[-2]:
            self._keys = _grown(self._keys, start, key_states)
            self._values = _grown(self._values, start, value_states)
        self._keys[:, :, start:end] = key_states
        self._values[:, :, start:end] = value_states
        self._tokens = end
        self.keys, self.values = self._keys[:, :, :end], self._values[:, :, :end]
        return self.keys, self.values

    def fill(self, parts: Sequence["RoomyLayer"]) -> None:
        """Take over the rows of several layers, their last tokens in the same column.

        Columns before a shorter part are zero: they are masked, and 0 times anything finite is 0.
        """
        first = parts[0]
        self.dtype, self.device, self.head = first.dtype, first.device, first.head
        self._tokens = max(p._tokens for p in parts)
        self._keys = _joined([p.keys for p in parts], self._tokens, self.head)
        self._values = _joined([p.values for p in parts], self._tokens, self.head)
        self.is_initialized = True
        self.keys, self.values = (x[:, :, : self._tokens] for x in (self._keys, self._values))

    def keep(self, rows: "Tensor", drop: int) -> None:
        """Keep only `rows`, without the first `drop` tokens after the head."""
        self._keys = _kept(self._keys, rows, self.head, drop)
        self._values = _kept(self._values, rows, self.head, drop)
        self._tokens -= drop
        self.keys, self.values = (x[:, :, : self._tokens] for x in (self._keys, self._values))


def _room(like: "Tensor", held: int) -> "Tensor":
    batch, heads, new, dim = like.shape
    return like.new_empty(batch, heads, held + new + _ROOM, dim)


def _grown(buffer: "Tensor", held: int, new: "Tensor") -> "Tensor":
    larger = _room(new, held)
    larger[:, :, :held] = buffer[:, :, :held]
    return larger


def _kept(buffer: "Tensor", rows: "Tensor", head: int, drop: int) -> "Tensor":
    if not head or not drop:
        return buffer[rows, :, drop:]
    return torch.cat((buffer[rows, :, :head], buffer[rows, :, head + drop :]), 2)


def _joined(parts: Sequence["Tensor"], tokens: int, head: int) -> "Tensor":
    _, heads, _, dim = parts[0].shape
    rows = sum(len(p) for p in parts)
    joined = parts[0].new_zeros(rows, heads, tokens + _ROOM, dim)
    row = 0
    for part in parts:
        place = joined[row : row + len(part)]
        place[:, :, :head] = part[:, :, :head]
        place[:, :, tokens - part.shape[2] + head : tokens] = part[:, :, head:]
        row += len(part)
    return joined


def make(config: "PreTrainedConfig") -> Cache:
    """Return an empty cache for one batch of a model with this config."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(each) is DynamicLayer else each for each in cache.layers]
    return cache


def set_head(cache: Cache, tokens: int) -> None:
    """Say that the first columns are virtual tokens: they stay when padding leaves."""
    for layer in cache.layers:
        if isinstance(layer, RoomyLayer):
            layer.head = tokens


def is_plain(cache: Cache) -> bool:
    """Say whether every layer attends to all tokens, so that columns may be dropped."""
    return bool(cache.layers) and all(isinstance(each, RoomyLayer) for each in cache.layers)


def join(config: "PreTrainedConfig", caches: Sequence[Cache]) -> Cache:
    """Make one cache of the rows of several, newest tokens aligned; all must be `is_plain`."""
    if len(caches) == 1:
        return caches[0]
    joined = make(config)
    for i, layer in enumerate(joined.layers):
        layer.fill([each.layers[i] for each in caches])
    return joined


def keep(cache: Cache, rows: Sequence[int], drop: int) -> None:
    """Keep only `rows` of the batch; `drop` leading tokens leave too where `is_plain`."""
    chosen = torch.tensor(rows)
    for layer in cache.layers:
        if not isinstance(layer, RoomyLayer):
            layer.batch_select_indices(chosen)
        elif layer.is_initialized:
            layer.keep(chosen.to(layer.device), drop)
