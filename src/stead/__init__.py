"""stead: acquire, fine-tune, evaluate, convert and serve language models.

The public names import their room on first use, so `import stead` stays light:
`plan`, `train`, `fork`, `sweep`, `evaluate`, `export`, `parity`, `upload`, `Gateway`, `Message`, `Client`, `AsyncClient`.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "plan": "stead.api:plan",
    "train": "stead.api:train",
    "fork": "stead.api:fork",
    "sweep": "stead.api:sweep",
    "evaluate": "stead.api:evaluate",
    "export": "stead.api:export",
    "upload": "stead.api:upload",
    "parity": "stead.api:parity",
    "Gateway": "stead.app.gateway:Gateway",
    "Client": "stead.client:Client",
    "AsyncClient": "stead.client:AsyncClient",
    "Message": "stead.messages:Message",
}

__all__ = [
    "AsyncClient",
    "Client",
    "Gateway",
    "Message",
    "__version__",
    "evaluate",
    "export",
    "fork",
    "parity",
    "plan",
    "sweep",
    "train",
    "upload",
]


def __getattr__(name: str) -> Any:  # Any: functions and classes of several rooms
    """Import a public name from its room (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'stead' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
