"""Which engine serves a model, and the order to give it; refused before anything is started.

Knows nothing about running engines. A model is a path, a name, or a ref of an engine's own store.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from stead.core.errors import ConfigError, MissingDependency, ModelError, ResourceError
from stead.core.hardware import Hardware, probe
from stead.core.paths import Home
from stead.engines.engine import ENGINES, Order
from stead.hub.adapter_folders import adapter_name, is_switchable
from stead.hub.inspect import ModelInfo, inspect, locate
from stead.models.heads import refuse_scores

_PROCESS_PART = 0.1  # working memory of an engine beside the weights, as a share of them
_CACHE_BYTES = 2  # of a number in the key-value cache: fp16


@dataclass(frozen=True, slots=True)
class Wanted:
    """A local model as people ask for it; `model` is anything `hub.inspect.locate` accepts."""

    model: str
    adapter: str | None = None
    engine: str = "auto"
    name: str | None = None
    context: int | None = None
    parallel: int = 4
    threads: int | None = None
    adapters: tuple[str, ...] = ()  # folders; a request's model `name:adapter` chooses
    beside: tuple[str, ...] = ()  # as `adapters`, where the engine can; no reason to take another
    exact: bool = False  # an answer alone and in company are computed with the same bits
    speculate: bool = True  # guess tokens from a row's own text and check them together
    requires_gpu: bool = False
    min_gpu_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, its order, and the bytes that the model is expected to take.

    `switched`: the adapter of `order.adapters` that was meant; the same copy answers for the others.
    """

    engine: str
    order: Order
    bytes: int
    switched: str | None = None

    @property
    def copy(self) -> tuple[str, Order]:
        """What two choices have in common that one copy in memory can serve."""
        return self.engine, structs.replace(self.order, name="")


def choose(wanted: Wanted, home: Home) -> tuple[str, Order]:
    """Return the engine for a model and the order to give it; nothing is started.

    Raises: NotFound, ModelError of `inspect`; ConfigError("engine-mismatch"); MissingDependency;
    ResourceError("no-gpu" | "gpu-too-small").
    """
    found = plan(wanted, home)
    return found.engine, found.order


def plan(wanted: Wanted, home: Home) -> Choice:
    """Return the engine, the order and the expected bytes. Raises as `choose` does."""
    check_gpu(wanted)
    own = _own_store(wanted)
    if own is not None:
        return own
    info = inspect(locate(wanted.model, home=home), home=home)
    adapter = None if wanted.adapter is None else locate(wanted.adapter, home=home)
    for folder in (info.path, *([] if adapter is None else [adapter])):
        refuse_scores(folder)
    if info.kind == "adapter":
        if adapter is not None:
            raise ConfigError(
                "two-adapters", f"{wanted.model!r} is an adapter itself; give --model its base"
            )
        adapter, info = info.path, _base(info, home)
    engine = _engine_for(info, adapter, wanted)
    _check_available(engine)
    name = wanted.name if wanted.name is not None else _name(wanted.model, adapter or info.path)
    order = Order(
        model=str(info.path),
        name=name,
        adapter=None if adapter is None else str(adapter),
        adapters=wanted.adapters,
        exact=wanted.exact,
        speculate=wanted.speculate,
        context=wanted.context,
        parallel=wanted.parallel,
        threads=wanted.threads,
    )
    needed = expected_bytes(info, order, ENGINES.get(engine).process_bytes)
    choice = Choice(engine, order, needed)
    return _switching(choice, wanted, home) if "adapters" in ENGINES.get(engine).loads else choice


def _switching(choice: Choice, wanted: Wanted, home: Home) -> Choice:
    """Take the adapter as one of many beside the base, where it is among them and of the right kind."""
    order = choice.order
    places = tuple(dict.fromkeys((*order.adapters, *wanted.beside)))
    name = None
    if order.adapter is not None:
        folder = Path(order.adapter)
        name = adapter_name(folder, [Path(place) for place in places])
        if name is None or not is_switchable(inspect(folder, home=home)):
            return choice  # a copy of its own, with the adapter put on for good
        base, colon, _ = order.name.rpartition(":")
        is_pair = colon and wanted.adapter is not None  # else the name is the adapter's own
        order = structs.replace(order, name=base if is_pair else Path(order.model).name)
    order = structs.replace(order, adapter=None, adapters=places)
    return replace(choice, order=order, switched=name)


def expected_bytes(info: ModelInfo, order: Order, process_bytes: int) -> int:
    """Return what an engine is expected to take: itself, the weights, the key-value cache.

    The cache is that of `order.context` tokens (the model's own context, 4096 at most, when it is not
    given), once: the slots share it.
    """
    tokens = order.context if order.context is not None else min(info.context_length, 4096)
    cache = 2 * info.layers * info.kv_heads * info.head_dim * tokens * _CACHE_BYTES
    return int(process_bytes + info.size_bytes * (1 + _PROCESS_PART) + cache)


def check_gpu(wanted: Wanted, hardware: Hardware | None = None) -> None:
    """Refuse what needs a GPU that is not here. Raises: ResourceError("no-gpu" | "gpu-too-small")."""
    least = wanted.min_gpu_memory_bytes
    if not wanted.requires_gpu and least is None:
        return
    gpus = (probe() if hardware is None else hardware).gpus
    if not gpus:
        raise ResourceError("no-gpu", f"{wanted.model!r} needs a GPU, and there is none here")
    largest = max(gpus, key=lambda gpu: gpu.memory_bytes)
    if least is not None and largest.memory_bytes < least:
        raise ResourceError(
            "gpu-too-small",
            f"{wanted.model!r} needs a GPU with {least:,} bytes; "
            f"the largest here, {largest.name}, has {largest.memory_bytes:,}",
        )


def _own_store(wanted: Wanted) -> Choice | None:
    """Return the choice for `prefix:name`, a model in an engine's own store; None for all others."""
    prefix, colon, ref = wanted.model.partition(":")
    if not colon or Path(wanted.model).exists():
        return None
    for engine in ENGINES.names():
        kind = ENGINES.get(engine)
        if kind.prefix == prefix and wanted.engine in ("auto", engine):
            _check_available(engine)
            name = wanted.name if wanted.name is not None else wanted.model
            order = Order(model=ref, name=name, parallel=wanted.parallel, context=wanted.context)
            return Choice(engine, order, kind.process_bytes)
    return None


def _base(info: ModelInfo, home: Home) -> ModelInfo:
    if info.base is None:
        raise ModelError(
            "no-base",
            f"the base model of the adapter {str(info.path)!r} is not here",
            hint=f"stead generate --model BASE --adapter {info.path} Hello",
        )
    return inspect(info.base, home=home)


def _name(given: str, path: Path) -> str:
    """Return a name to call the model by: what it was asked by, or the last part of its path."""
    if not Path(given).exists():
        return given
    stem = path.stem if path.is_file() else path.resolve().name
    return path.resolve().parent.name if stem == "final" else stem


def _engine_for(info: ModelInfo, adapter: Path | None, wanted: Wanted) -> str:
    with_adapter = () if adapter is None else ("gguf-adapter" if adapter.is_file() else "adapter",)
    by_request = ("adapters",) if wanted.adapters else ()
    same_bits = ("exact",) if wanted.exact else ()
    needed = {info.kind, *with_adapter, *by_request, *same_bits}
    if wanted.engine != "auto":
        if not needed <= ENGINES.get(wanted.engine).loads:
            raise ConfigError(
                "engine-mismatch",
                f"the engine {wanted.engine!r} does not load {' with '.join(sorted(needed))}: "
                f"{str(info.path)!r}",
            )
        return wanted.engine
    fitting = [name for name in ENGINES.names() if needed <= ENGINES.get(name).loads]
    if not fitting:
        raise ConfigError(
            "engine-mismatch",
            f"no engine loads {' with '.join(sorted(needed))}: {str(info.path)!r}",
        )
    able = [name for name in fitting if ENGINES.get(name).is_available().ok]
    return able[0] if able else fitting[0]


def _check_available(engine: str) -> None:
    found = ENGINES.get(engine).is_available()
    if not found.ok:
        raise MissingDependency(
            "engine-unavailable",
            f"the engine {engine!r} cannot work here: {found.reason}",
            hint=found.hint,
        )
