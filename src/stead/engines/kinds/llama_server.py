"""llama.cpp's own server, the program `llama-server`: GGUF files and GGUF adapters.

Knows nothing about the embedded llama.cpp (`llama_cpp`), which serves the same files without it.
Source: llama.cpp tools/server/README.md.
"""

from pathlib import Path
from typing import ClassVar

from stead.core.errors import ModelError
from stead.engines.engine import Order
from stead.engines.program import HttpProgram


class LlamaServer(HttpProgram):
    """The engine for GGUF files when the program is installed and the wheel is not."""

    programs = ("llama-server", "llama-server.exe")
    setting = "llama_server"
    install = "brew install llama.cpp"
    key_variable = "LLAMA_API_KEY"
    loads = frozenset({"gguf", "gguf-adapter"})
    lacks: ClassVar[frozenset[str]] = frozenset({"n", "echo", "exact_seed", "zero_logprobs"})
    keepalive = False

    def arguments(self, order: Order, port: int) -> list[str]:
        """Return the server's arguments; the context is shared by all slots."""
        given = [
            "--model", order.model, "--alias", order.name, "--host", "127.0.0.1",
            "--port", str(port), "--parallel", str(order.parallel),
        ]  # fmt: skip
        if order.context is not None:
            given += ["--ctx-size", str(order.context)]
        if order.threads is not None:
            given += ["--threads", str(order.threads)]
        if order.gpu_layers is not None:
            given += ["--n-gpu-layers", str(999 if order.gpu_layers < 0 else order.gpu_layers)]
        if order.adapter is not None:
            if Path(order.adapter).suffix != ".gguf":
                raise ModelError(
                    "adapter-not-loadable",
                    f"llama-server does not load the adapter {order.adapter!r}, only .gguf adapters",
                    hint=f"stead export {order.adapter} --format gguf --quant f16 --out model.gguf",
                )
            given += ["--lora", order.adapter]
        return given
