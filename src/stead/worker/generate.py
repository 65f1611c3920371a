"""The transformers program: loads a model folder, maybe with an adapter, and serves it by `serving`.

Knows nothing about who asks. `python -m stead.worker.generate`, the order on stdin; see `engines/child`.
"""

from pathlib import Path

import torch

from stead.core.hardware import probe
from stead.core.metrics import Metrics
from stead.engines import child
from stead.engines.engine import Order
from stead.engines.hosting import host
from stead.models.load import load_model
from stead.models.writing.local import LocalBackend
from stead.models.writing.lora_set import LoraSet
from stead.models.writing.served import Serving
from stead.serving.asgi import App
from stead.serving.settings import Settings

_WAITING = 256  # answers that may wait; more are refused with 429
_LEAST_BYTES = 64 << 20
_CACHE_BYTES = 8 << 30  # of keys and values: half of what is free, at most this
_PANEL_BYTES = 4 << 30  # of a second copy of the weights: a quarter of what is free, at most this


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
            rows=order.parallel,
            queue=_WAITING,
            budget_bytes=_share(2, _CACHE_BYTES),
            panel_bytes=_share(4, _PANEL_BYTES),
            exact=order.exact,
            speculate=order.speculate,
        ),
        adapters=LoraSet(loaded, [Path(place) for place in order.adapters]),
    )
    # Requests wait in the model's own queue, where they can join at the next token.
    settings = Settings(api_keys=(token,), concurrency=order.parallel + _WAITING)
    return App(backend, settings, metrics=_counted(backend))


def _counted(backend: LocalBackend) -> Metrics:
    """Return metrics that show the guessed tokens."""
    metrics, guesses = Metrics(), backend.guesses
    metrics.gauge(
        "stead_draft_tokens",
        "Tokens guessed from an answer's own text since the start, and those that were right.",
        "outcome",
        read=lambda: [(("drafted",), guesses.drafted), (("accepted",), guesses.accepted)],
    )
    return metrics


def _share(part: int, most: int) -> int:
    """Return a part of the memory that is free now, within bounds."""
    return max(_LEAST_BYTES, min(most, probe().ram_free_bytes // part))


def serve(order: Order, token: str, ready: child.Ready) -> None:
    """Load the model and answer until told to stop."""
    host(app(order, token), ready)


if __name__ == "__main__":
    raise SystemExit(child.main(serve))
