"""The transformers library: safetensors folders of any family it knows, with or without an adapter.

Knows nothing about the library's calls; `worker/generate` does.
"""

from stead.engines.engine import ProgramEngine


class Transformers(ProgramEngine):
    """The engine for model folders and adapters; GPU when there is one."""

    requires = ("torch", "transformers", "uvicorn")
    extra = "train"
    loads = frozenset({"model", "adapter"})
    module = "stead.worker.generate"
