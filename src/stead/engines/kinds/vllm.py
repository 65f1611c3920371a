"""vLLM: model folders and adapters on a GPU, many requests at once.

Knows nothing about vLLM's inside; its OpenAI-shaped server is a program. Source: docs.vllm.ai, "vllm serve".
"""

import sys
from typing import ClassVar

from stead.core.lazy import installed
from stead.engines.engine import Order
from stead.engines.program import HttpProgram, pass_through


class VLLM(HttpProgram):
    """The engine for model folders where vLLM is installed: as a program, or in this Python."""

    programs = ("vllm",)
    setting = "vllm"
    install = "pip install vllm"
    key_variable = "VLLM_API_KEY"
    loads = frozenset({"model", "adapter"})
    sees = True
    lacks: ClassVar[frozenset[str]] = frozenset({"count"})
    process_bytes = 2 << 30

    @classmethod
    def command(cls) -> list[str] | None:
        """Return `vllm serve`, else this Python with vLLM's server module, else None."""
        found = super().command()
        if found is not None:
            return [*found, "serve"]
        if installed("vllm"):
            return [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        return None

    def arguments(self, order: Order, port: int) -> list[str]:
        """Return the server's arguments; the adapter answers by the order's name, the base by `base`."""
        as_program = self.command() or []
        model = [order.model] if as_program[-1:] == ["serve"] else ["--model", order.model]
        given = [
            *model, "--host", "127.0.0.1", "--port", str(port),
            "--max-num-seqs", str(order.parallel),
        ]  # fmt: skip
        if order.context is not None:
            given += ["--max-model-len", str(order.context)]
        if order.adapter is None:
            return [*given, "--served-model-name", order.name]
        return [
            *given, "--served-model-name", "base",
            "--enable-lora", "--lora-modules", f"{order.name}={order.adapter}",
        ]  # fmt: skip

    def environment(self, order: Order, port: int, token: str) -> dict[str, str]:
        """Return the key, and vLLM's usual variables; it sends no statistics from here."""
        quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        extra = pass_through("VLLM_CPU_KVCACHE_SPACE", "VLLM_TARGET_DEVICE", "VLLM_LOGGING_LEVEL")
        return super().environment(order, port, token) | quiet | extra
