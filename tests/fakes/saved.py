"""What a real model holds: its layers opened as training opens them, and what autograd saves of a pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fakes.batches import flat

from stead.config.kinds import registry


@contextmanager
def learner(model: Path, adapter: dict[str, Any], dtype: str) -> Iterator[Any]:
    """Open a real model with its adapter, as training does."""
    from stead.models.layers import layers
    from stead.models.learner import Learner
    from stead.models.load import load_model

    loaded = load_model(model, dtype=dtype, device="cpu")  # type: ignore[arg-type] # a parameter
    kind = registry("adapter")
    settings = kind.config_of(adapter["type"])(**adapter)
    kind.create(adapter["type"], config=settings).wrap(loaded.model, layers, 0)
    found = Learner(loaded)
    try:
        yield found
    finally:
        found.close()


def held(tensors: Any) -> int:
    """Add up the bytes of distinct storages."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def saved_bytes(opened: Any, lengths: list[int]) -> int:
    """Return the bytes of distinct tensors that autograd holds after a forward pass, weights apart."""
    import torch

    opened.model.train()
    packs = [m._stead for m in opened.model.modules() if hasattr(m, "_stead")]
    fixed = [*opened.model.parameters(), *opened.model.buffers()]
    fixed += [p.matrix for layer in packs for p in (layer.qkv, layer.out, layer.up, layer.down)]
    known = {t.untyped_storage().data_ptr() for t in fixed}
    kept: list[torch.Tensor] = []  # held, so that no storage is used again

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            kept.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), opened.draw(1, 1):
        hidden = opened.hidden(flat(lengths))
    total = held(kept)
    del hidden
    return total
