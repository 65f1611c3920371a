"""Hidden states inside a model: what chosen layers give out, beside the last hidden states.

Knows nothing about losses. Several threads may ask at once: each keeps its own. Legend: T tokens, E
hidden size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock, local
from typing import Any

from torch import Tensor, nn

from stead.core.errors import ModelError

_MARK = "_stead_features"


class _Current(local):
    def __init__(self) -> None:
        self.wanted: frozenset[int] = frozenset()
        self.found: dict[int, Tensor] = {}


_current = _Current()
_lock = Lock()


@contextmanager
def captured(decoder: Any, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Keep what layers, counted from 1, give out in this thread. Shapes: [1, T', E].

    T' may be more than the batch's tokens: fillings follow them, virtual tokens stand before.
    Raises: ModelError("no-layer").
    """
    _watch(decoder)
    for number in layers:
        if not 1 <= number <= (have := len(blocks(decoder))):
            raise ModelError("no-layer", f"there is no layer {number}: the model has {have}")
    found: dict[int, Tensor] = {}
    _current.wanted, _current.found = frozenset(layers), found
    try:
        yield found
    finally:
        _current.wanted, _current.found = frozenset(), {}


def blocks(decoder: Any) -> nn.ModuleList:  # Any: a transformers decoder
    """Return a decoder's layers, whatever its family calls them. Raises: ModelError("no-layer")."""
    count = int(decoder.config.get_text_config().num_hidden_layers)
    lists = (m for m in decoder.children() if isinstance(m, nn.ModuleList) and len(m) == count)
    found = next(lists, None)
    if found is None:
        name = type(decoder).__name__
        raise ModelError("no-layer", f"{name} does not hold its {count} layers in one list")
    return found


def _watch(decoder: Any) -> None:
    """Let every layer report; once per model, since hooks must not come and go between threads."""
    with _lock:
        if decoder.__dict__.get(_MARK) is not None:
            return
        for number, layer in enumerate(blocks(decoder), 1):
            layer.register_forward_hook(partial(_keep, number))
        decoder.__dict__[_MARK] = True


def _keep(number: int, _module: Any, _args: Any, output: Any) -> None:
    if number in _current.wanted and number not in _current.found:
        _current.found[number] = output[0] if isinstance(output, tuple) else output
