"""Prune a model layer by layer: each is chosen by what reaches it when those before are pruned already.

Knows nothing about how weights are chosen. Source: arXiv:2306.11695 algorithm 1. Memory: the hidden
states of all rows between two layers, T·E numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stead.core.events import Emit, Progress, Started
from stead.models.flat import FlatBatch
from stead.models.learner import Learner

Choose = Callable[[Sequence[str]], None]


@dataclass(slots=True)
class _Pass:
    """Some rows on their way: what reaches the next layer, and what else each layer is given."""

    hidden: Tensor
    given: list[dict[str, Any]] = field(default_factory=list)  # Any: masks, positions, segments


def each_layer(
    learner: Learner, batches: Sequence[FlatBatch], names: Sequence[str], choose: Choose, emit: Emit
) -> None:
    """Call `choose` with the names of each layer's matrices, in the layers' order.

    Before each call the rows have passed through that layer, counting (see `models/layers/observed`), with
    all earlier layers as `choose` left them. Matrices outside of layers come last, after a whole pass.
    """
    decoder = learner.model.get_decoder()
    places = {id(m): name for name, m in learner.model.named_modules()}
    own = [[n for n in names if n.startswith(f"{places[id(x)]}.")] for x in decoder.layers]
    emit(Started(stage="prune", total=len(own), unit="layer"))
    with torch.no_grad():
        passes = _passes(learner, decoder.layers, batches)
        for number, (layer, mine) in enumerate(zip(decoder.layers, own, strict=True)):
            for index, one in enumerate(passes):
                with learner.draw(0, index):
                    _through(layer, one, number)
            choose(mine)
            for one in passes:
                one.hidden = _through(layer, one, number)
            emit(Progress(stage="prune", done=number + 1))
        rest = [n for n in names if not any(n in mine for mine in own)]
        if rest:
            for index, batch in enumerate(batches):
                with learner.draw(0, index):
                    learner.label_log_probs(batch)
            choose(rest)


def _through(layer: nn.Module, one: _Pass, number: int) -> Tensor:
    out = layer(one.hidden, **one.given[number])
    found: Tensor = out[0] if isinstance(out, tuple) else out
    return found


def _passes(
    learner: Learner, layers: Sequence[nn.Module], batches: Sequence[FlatBatch]
) -> list[_Pass]:
    """Run all rows once and keep what enters the first layer, and what else each layer is given."""
    found: list[_Pass] = []

    def keep(place: int) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], more: dict[str, Any]) -> None:
            given = dict(more)
            hidden = args[0] if args else given.pop("hidden_states")
            if place == 0:
                found.append(_Pass(hidden))
            found[-1].given.append(given)

        return hook

    with _hooked(layers, keep):
        for batch in batches:
            with learner.draw(0, 0, active=False):
                learner.hidden(batch)
    return found


@contextmanager
def _hooked(
    layers: Sequence[nn.Module], make: Callable[[int], Callable[..., None]]
) -> Iterator[None]:
    held = [x.register_forward_pre_hook(make(i), with_kwargs=True) for i, x in enumerate(layers)]
    try:
        yield
    finally:
        for one in held:
            one.remove()
