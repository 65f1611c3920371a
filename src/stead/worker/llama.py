"""The llama.cpp program: loads one GGUF and serves it by the wheel's own OpenAI-shaped server.

Knows nothing about who asks. `python -m stead.worker.llama`, the order on stdin; see `engines/child`.
"""

import os
from typing import TYPE_CHECKING, Any

from stead.core.errors import ModelError
from stead.core.lazy import lazy
from stead.engines import child
from stead.engines.engine import Order

if TYPE_CHECKING:
    import xllamacpp
else:
    xllamacpp = lazy("xllamacpp", extra="local")

_HTTP_THREADS = 64  # one per open connection: those at work, and cancels and health beside them
_LOG_INFO = 1  # errors and warnings; 3 prints every request


def parameters(order: Order, token: str) -> Any:  # Any: xllamacpp has no types
    """Return the server's parameters for an order.

    One key-value store is shared by all slots, so that a single long request may use all of it.
    Embeddings are on and pooled by their mean; the generating routes work beside them.
    """
    wanted = xllamacpp.CommonParams()
    wanted.model.path = order.model
    wanted.model_alias = {order.name}
    wanted.api_keys = [token]
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = 0
    wanted.n_threads_http = _HTTP_THREADS
    wanted.n_parallel = order.parallel
    wanted.n_ctx = 0 if order.context is None else order.context
    wanted.kv_unified = True
    wanted.embedding = True
    wanted.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    wanted.ui = False
    wanted.cors_origins = ""
    wanted.offline = True
    wanted.verbosity = _LOG_INFO
    threads = max(1, (os.cpu_count() or 1)) if order.threads is None else order.threads
    wanted.cpuparams.n_threads = threads
    wanted.cpuparams_batch.n_threads = threads
    if order.gpu_layers is not None:
        wanted.n_gpu_layers = 999 if order.gpu_layers < 0 else order.gpu_layers
    return wanted


def serve(order: Order, token: str, ready: child.Ready) -> None:
    """Load the file and answer until told to stop."""
    if order.adapter is not None:
        raise ModelError(
            "adapter-not-loadable",
            f"llama.cpp does not load the adapter {order.adapter!r} as it is",
            hint=f"stead export {order.adapter} --format gguf --quant f16 --out model.gguf",
        )
    try:
        server = xllamacpp.Server(parameters(order, token))
    except RuntimeError as error:
        raise ModelError("load-failed", str(error)) from error
    ready(server.listening_address)
    while not child.stopping.wait(1.0):
        pass
    del server  # its destructor stops the threads and frees the model


if __name__ == "__main__":
    raise SystemExit(child.main(serve))
