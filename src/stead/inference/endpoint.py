"""One endpoint of a strategy → a Candidate with what stands right around it; an absent one says why.

Knows nothing about the order of candidates. Where a strategy may not go, no Backend is made at all.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from stead.config.components import CloudConfig, LocalConfig
from stead.config.constraints import PLACES, allows
from stead.config.endpoints import EndpointSpec
from stead.config.model_catalog import Catalog, ModelFacts
from stead.config.strategy import Strategy
from stead.core.errors import BackendError
from stead.inference.backend import Backend
from stead.inference.backends.echo import Echo
from stead.inference.breaker import Breaker, Breakers
from stead.inference.candidate import Candidate
from stead.inference.defaults import Defaulted
from stead.inference.grouped import Grouped
from stead.inference.prices import FREE, Prices
from stead.inference.purse import Ceiling, Purses
from stead.inference.retry import Retry, RetryPolicy
from stead.inference.vendor_rows import rows
from stead.inference.vendors import vendor
from stead.messages import Chunk, GenerateRequest, ModelCard, Reply

Local = Callable[[EndpointSpec], Backend]
_ROWS = {"llamacpp": "llama_server", "llama_cpp": "llama_server"}  # type → row of vendors.yaml
_BASE_S = RetryPolicy().base_s
_OLLAMA_OPTIONS = {"num_ctx": "context_size", "num_gpu": "gpu_layers", "num_thread": "threads"}


class Absent(Backend):
    """An endpoint that cannot be asked; nothing is ever sent."""

    def __init__(self, name: str, reason: str) -> None:
        self._name = name
        self.unavailable = reason

    def _refuse(self) -> NoReturn:
        raise BackendError("unavailable", f"{self._name}: {self.unavailable}", status=503)

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Raise BackendError("unavailable")."""
        self._refuse()

    def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Raise BackendError("unavailable")."""
        self._refuse()

    async def models(self) -> list[ModelCard]:
        """List nothing."""
        return []


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the candidates of one strategy."""

    strategy: Strategy
    local: Local
    off: Mapping[str, Mapping[str, str]]
    gpu_gb: Sequence[float]
    catalog: Catalog
    purses: Purses
    environment: Mapping[str, str] | None = None
    breakers: Breakers = field(default_factory=Breakers)

    def candidate(self, spec: EndpointSpec) -> Candidate | None:
        """Return the candidate, or None where the strategy's privacy or model lists forbid it."""
        known = rows().get(spec.kind) if spec.is_cloud else None
        place = spec.place("public" if known is None else known.place)
        limits = self.strategy.constraints
        if place not in PLACES[limits.privacy_mode] or not allows(limits, spec.model):
            return None
        facts = self._facts(spec)
        prices = FREE if place != "public" else _prices(facts)
        reason = self.off.get(spec.owner, {}).get(spec.part)
        if reason is None and place == "local":
            reason = self._hardware(spec)
        backend: Backend = Absent(spec.name, "" if reason is None else reason)
        if reason is None:
            endpoint = self._endpoint(spec)
            reason = getattr(endpoint, "unavailable", None)  # a vendor without its key
            backend = self._around(spec, endpoint, prices)
        return Candidate(
            name=spec.name,
            model=spec.model,
            backend=backend,
            vendor=spec.kind,
            place=place,
            prices=prices,
            context=_context(spec, facts),
            capabilities=frozenset(() if facts is None else facts.capabilities),
            unavailable=reason,
        )

    def _facts(self, spec: EndpointSpec) -> ModelFacts | None:
        provider = spec.kind if spec.is_cloud else "ollama"
        return self.catalog.find(spec.model, provider)

    def _hardware(self, spec: EndpointSpec) -> str | None:
        limits = self.strategy.constraints
        if not isinstance(spec.config, LocalConfig) or spec.kind == "mock_model":
            return None
        if (limits.requires_gpu or limits.min_gpu_memory is not None) and not self.gpu_gb:
            return "the strategy wants a GPU, and there is none here"
        most, least = max(self.gpu_gb, default=0.0), limits.min_gpu_memory
        if least is not None and most < least:
            return f"the strategy wants {least:g} GB of GPU memory, and there are {most:.1f} here"
        return None

    def _endpoint(self, spec: EndpointSpec) -> Backend:
        config = spec.config
        if spec.kind == "mock_model":
            return Echo(spec.model if spec.model else "echo")
        kind = _ROWS.get(spec.kind, spec.kind)
        is_ours = isinstance(config, LocalConfig) and config.base_url is None
        if is_ours or spec.kind == "ollama":
            return self.local(spec)
        options = {}
        if isinstance(config, CloudConfig) and config.organization is not None:
            options = {"organization": config.organization}
        return vendor(
            kind if kind in rows() else "custom",
            api_key=config.api_key,
            base_url=config.base_url,
            options=options,
            environment=self.environment,
        )

    def _around(self, spec: EndpointSpec, endpoint: Backend, prices: Prices | None) -> Backend:
        faster = self.strategy.optimization
        inner = endpoint
        if faster.batch_size > 1:
            inner = Grouped(inner, faster.batch_size, faster.batch_timeout / 1000)
        inner = Ceiling(inner, self.purses, prices)
        inner = Retry(inner, spec.name, self._retries(spec), self._circuit(spec), prices=prices)
        fields, extra = defaults_of(spec)
        return Defaulted(inner, fields, extra) if fields or extra else inner

    def _circuit(self, spec: EndpointSpec) -> Breaker:
        """Return the circuit of an address, model and key; a key that is not given is the vendor's own."""
        url, key = spec.config.base_url, spec.config.api_key
        where = spec.kind if url is None else f"{spec.kind} {url}"
        return self.breakers.of(where, spec.model, "" if key is None else key)

    def _retries(self, spec: EndpointSpec) -> RetryPolicy:
        policy, config = self.strategy.optimization.retry_policy, spec.config
        more = config.max_retries if isinstance(config, CloudConfig) else None
        delay = config.retry_delay if isinstance(config, CloudConfig) else None
        return RetryPolicy(
            max_attempts=policy.max_attempts if more is None else more + 1,
            backoff_multiplier=policy.backoff_multiplier,
            max_backoff_s=policy.max_backoff,
            base_s=_BASE_S if delay is None else delay,
            attempt_s=config.timeout,
        )


def defaults_of(spec: EndpointSpec) -> tuple[dict[str, int | float], dict[str, Any]]:
    """Return what is sent when a request says nothing: fields of `Sampling`, and fields beside them."""
    config = spec.config
    if isinstance(config, LocalConfig):
        if spec.kind != "ollama":
            return {}, {}
        found = {name: option(config, key) for name, key in _OLLAMA_OPTIONS.items()}
        return {}, {k: v for k, v in found.items() if v is not None}
    said = config.models.get(spec.model)
    pairs = {} if said is None else {"max_tokens": said.max_tokens, "temperature": said.temperature}
    return {k: v for k, v in pairs.items() if v is not None}, {}


def option(config: LocalConfig, key: str) -> int | None:
    """Return a program's setting; "threads" is num_thread, else cpu_threads."""
    if key == "threads":
        return config.num_thread if config.num_thread is not None else config.cpu_threads
    found: int | None = getattr(config, key)
    return found


def _context(spec: EndpointSpec, facts: ModelFacts | None) -> int | None:
    if isinstance(spec.config, LocalConfig) and spec.config.context_size is not None:
        return spec.config.context_size
    return None if facts is None else facts.context


def _prices(facts: ModelFacts | None) -> Prices | None:
    if facts is None or facts.price is None:
        return None
    price = facts.price
    caches = (price.cached, price.write, price.long_write)
    return Prices.of(
        str(price.input), str(price.output), *(None if p is None else str(p) for p in caches)
    )
