"""The transformers library: safetensors folders of any family it knows, with adapters by request.

Knows nothing about the library's calls; `worker/generate` does.
"""

from pathlib import Path

from stead.core.errors import ConfigError
from stead.engines.engine import OURS_IGNORE, Order, ProgramEngine
from stead.values import Endpoint


class Transformers(ProgramEngine):
    """The engine for model folders and adapters; GPU when there is one."""

    requires = ("torch", "transformers", "uvicorn")
    extra = "train"
    loads = frozenset({"model", "adapter", "adapters", "exact"})
    ignores = OURS_IGNORE
    module = "stead.worker.generate"

    def start(self, order: Order, folder: Path, *, timeout_s: float = 300.0) -> Endpoint:
        """Start the program.

        Raises: ConfigError("no-context-option"), since the model's own counts;
        ConfigError("two-adapters") when one is put on for good and others are chosen by requests.
        """
        if order.adapter is not None and order.adapters:
            raise ConfigError(
                "two-adapters",
                f"{order.adapter!r} would be added to {order.adapters[0]!r}; name it among the others",
            )
        if order.context is not None:
            raise ConfigError(
                "no-context-option",
                f"the transformers engine has the model's own context, not {order.context}",
            )
        return super().start(order, folder, timeout_s=timeout_s)
