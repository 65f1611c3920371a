"""llama.cpp, embedded from a wheel: GGUF files, several requests at once in one process.

Knows nothing about the wheel's calls; `worker/llama` does.
"""

import re
from typing import ClassVar

from stead.engines.engine import ProgramEngine

_ERROR = re.compile(r"[\d.]+ E (?P<text>.*)")


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

    def faults(self, lines: list[str]) -> list[str]:
        """Return the library's own errors without time stamps; all lines when there are none."""
        found = [m["text"] for line in lines if (m := _ERROR.fullmatch(line))]
        return found if found else lines
