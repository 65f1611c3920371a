"""The transformers library: safetensors folders of any family it knows, with or without an adapter.

Knows nothing about the library's calls; `worker/generate` does.
"""

from pathlib import Path

from stead.core.errors import ConfigError
from stead.engines.engine import Order, ProgramEngine
from stead.values import Endpoint


class Transformers(ProgramEngine):
    """The engine for model folders and adapters; GPU when there is one."""

    requires = ("torch", "transformers", "uvicorn")
    extra = "train"
    loads = frozenset({"model", "adapter"})
    module = "stead.worker.generate"

    def start(self, order: Order, folder: Path, *, timeout_s: float = 300.0) -> Endpoint:
        """Start the program. Raises: ConfigError("no-context-option"), since the model's own counts."""
        if order.context is not None:
            raise ConfigError(
                "no-context-option",
                f"the transformers engine has the model's own context, not {order.context}",
            )
        return super().start(order, folder, timeout_s=timeout_s)
