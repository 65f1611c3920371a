"""The transformers program: loads a model folder, maybe with an adapter, and serves it by `serving`.

Knows nothing about who asks. `python -m stead.worker.generate`, the order on stdin; see `engines/child`.
"""

from pathlib import Path

import torch

from stead.core.hardware import probe
from stead.engines import child
from stead.engines.engine import Order
from stead.engines.hosting import host
from stead.models.load import load_model
from stead.models.local import LocalBackend
from stead.models.lora_set import LoraSet
from stead.models.served import Serving
from stead.serving.asgi import App
from stead.serving.settings import Settings

_WAITING = 256  # answers that may wait; more are refused with 429
_LEAST_BYTES, _MOST_BYTES = 64 << 20, 8 << 30


def app(order: Order, token: str) -> App:
    """Load what is ordered and return its server."""
    if order.threads is not None:
        torch.set_num_threads(order.threads)
    adapter = None if order.adapter is None else Path(order.adapter)
    loaded = load_model(Path(order.model), adapter=adapter)
    backend = LocalBackend.of(
        loaded,
        name=order.name,
        serving=Serving(
            rows=order.parallel, queue=_WAITING, budget_bytes=_cache_bytes(), exact=order.exact
        ),
        adapters=LoraSet(loaded, [Path(place) for place in order.adapters]),
    )
    # Requests wait in the model's own queue, where they can join at the next token.
    settings = Settings(api_keys=(token,), concurrency=order.parallel + _WAITING)
    return App(backend, settings)


def _cache_bytes() -> int:
    """Return how much keys and values may take: half of what is free now, at most 8 GiB."""
    return max(_LEAST_BYTES, min(_MOST_BYTES, probe().ram_free_bytes // 2))


def serve(order: Order, token: str, ready: child.Ready) -> None:
    """Load the model and answer until told to stop."""
    host(app(order, token), ready)


if __name__ == "__main__":
    raise SystemExit(child.main(serve))
