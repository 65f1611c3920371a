"""llama.cpp, embedded from a wheel: GGUF files, several requests at once in one process.

Knows nothing about the wheel's calls; `worker/llama` does.
"""

from typing import ClassVar

from stead.engines.engine import ProgramEngine


class LlamaCpp(ProgramEngine):
    """The engine for GGUF files; its own HTTP server speaks the OpenAI dialects.

    It lacks: usage of all choices when n > 1, echo, equal rounding when a cached prompt is reused, and
    log-probabilities when no alternatives are asked for (seen with xllamacpp 2026.10).
    """

    requires = ("xllamacpp",)
    extra = "local"
    loads = frozenset({"gguf"})
    lacks: ClassVar[frozenset[str]] = frozenset({"n", "echo", "exact_seed", "zero_logprobs"})
    keepalive = False
    module = "stead.worker.llama"
