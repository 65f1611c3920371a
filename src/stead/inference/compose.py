"""Strategy → one Backend: the only place that knows the order of what stands around an endpoint.

    watch › strict › hooks › room › meter › limits › cache › route › defaults › retry › ceiling › groups › endpoint

Knows nothing about files, engines or databases: what comes from above this room is in `Parts`. Nothing is
opened or started by composing. An endpoint that may not be used is a candidate without a Backend of its own:
nothing can be sent to it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from stead.config import rules
from stead.config.constraints import PLACES
from stead.config.endpoints import endpoints, further
from stead.config.model_catalog import Catalog, catalog
from stead.config.strategy import PRIORITIES, Strategy
from stead.core.cache import Area
from stead.core.errors import ConfigError
from stead.core.metrics import Metrics
from stead.core.shared import Limit, MemoryShared, Shared
from stead.inference.backend import Backend
from stead.inference.breaker import Breakers
from stead.inference.cached import Cached
from stead.inference.candidate import Candidate, Request
from stead.inference.constrain import Constrained, Room
from stead.inference.endpoint import Local, Maker
from stead.inference.facts import RequestFacts
from stead.inference.limits import Limits, Rules
from stead.inference.meter import Ledger, Meter
from stead.inference.plan import Bounds
from stead.inference.policy import POLICIES, Policy, Seen
from stead.inference.prices import Prices, picodollars
from stead.inference.purse import Purses
from stead.inference.route import Route
from stead.inference.strict import Strict
from stead.inference.watch import Alarm, Watch, Watched

_CACHE_BYTES = 64 << 20
ALIASES = frozenset({"auto", "default"})


@dataclass(frozen=True, slots=True)
class Parts:
    """What a strategy needs from elsewhere.

    `local` makes the Backend of a program on this machine. `find` looks other strategies up. `off` says why
    parts are switched off, by strategy and part. `gpu_gb` is the memory of each GPU here.
    """

    local: Local
    find: Callable[[str], Strategy | None] = lambda _: None
    off: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    gpu_gb: Sequence[float] = ()
    shared: Shared | None = None  # None: counters of this process
    ledger: Ledger | None = None  # None: nothing is written down
    metrics: Metrics | None = None
    environment: Mapping[str, str] | None = None
    breakers: Breakers | None = None  # None: circuits of this strategy alone
    hooks: Callable[[Backend], Backend] | None = None
    models: Catalog | None = None  # None: the one that ships


@dataclass(frozen=True, slots=True)
class Composed:
    """A strategy that can be asked: `backend`; `route` says whom a request would ask."""

    backend: Backend
    route: Route
    candidates: tuple[Candidate, ...]
    names: frozenset[str]


def compose(strategy: Strategy, parts: Parts) -> Composed:
    """Build the stack. Raises: ConfigError for what the checks of `config/strategy_check` refuse."""
    known = catalog() if parts.models is None else parts.models
    purses = Purses()
    specs = [s for first in endpoints(strategy, parts.find) for s in (first, *further(first))]
    specs = [s for i, s in enumerate(specs) if s.name not in {o.name for o in specs[:i]}]
    circuits = Breakers() if parts.breakers is None else parts.breakers
    maker = Maker(
        strategy, parts.local, parts.off, parts.gpu_gb, known, purses, parts.environment, circuits
    )
    candidates = tuple(c for c in map(maker.candidate, specs) if c is not None)
    if not candidates:
        raise ConfigError("no-candidate", f"nothing of the strategy {strategy.name!r} can answer")
    route = _route(strategy, candidates, frozenset(s.name for s in specs if s.in_chain))
    names = frozenset(n for c in candidates for n in (c.name, c.model)) | _aliases(strategy)
    return Composed(_around(strategy, parts, route, candidates, purses), route, candidates, names)


def _aliases(strategy: Strategy) -> frozenset[str]:
    return ALIASES | {strategy.name}


def _around(
    strategy: Strategy,
    parts: Parts,
    route: Route,
    candidates: Sequence[Candidate],
    purses: Purses,
) -> Backend:
    """Put around the route what every request passes, innermost first."""
    stack: Backend = route
    faster = strategy.optimization
    if faster.cache_enabled:
        stack = Cached(stack, Area(f"responses {strategy.name}", _CACHE_BYTES, faster.cache_ttl))
    shared = MemoryShared() if parts.shared is None else parts.shared
    prices = [_exact(c) for c in candidates if c.unavailable is None]
    stack = Limits(stack, shared, _money(strategy), prices=lambda _: prices, purses=purses)
    if parts.ledger is not None:
        stack = Meter(stack, parts.ledger, strategy=strategy.name)
    stack = Constrained(stack, _room(strategy, candidates))
    if parts.hooks is not None:
        stack = parts.hooks(stack)
    return Watched(Strict(stack), _watch(strategy, parts.metrics))


def _exact(candidate: Candidate) -> Prices | None:
    return candidate.prices if isinstance(candidate.prices, Prices) else None


def _money(strategy: Strategy) -> Rules:
    limits = strategy.constraints
    scope = f"strategy {strategy.name}"
    budgets = (
        ("daily_budget", limits.daily_budget, "day"),
        ("monthly_budget", limits.monthly_budget, "month"),
    )
    found = tuple(
        Limit(name, "money", picodollars(amount), scope=scope, calendar="day" if span == "day" else "month")
        for name, amount, span in budgets
        if amount is not None
    )  # fmt: skip
    most = limits.max_cost_per_request
    return Rules(found, max_cost=None if most is None else picodollars(most))


def _room(strategy: Strategy, candidates: Sequence[Candidate]) -> Room:
    limits = strategy.constraints
    answers = [n for n in (limits.max_tokens, limits.max_output_tokens) if n is not None]
    return Room(
        names=frozenset(n for c in candidates for n in (c.name, c.model)) | _aliases(strategy),
        input_tokens=limits.max_input_tokens,
        output_tokens=min(answers) if answers else None,
        timeout_s=strategy.optimization.timeout_seconds,
        at_once=strategy.optimization.parallel_requests,
    )


def _watch(strategy: Strategy, metrics: Metrics | None) -> Watch:
    told = strategy.monitoring
    return Watch(
        name=strategy.name,
        level=told.log_level,
        trace_share=told.trace_sample_rate if told.trace_enabled else 0.0,
        alarms=tuple(Alarm(a.type, a.threshold) for a in told.alerts),
        metrics=metrics if told.metrics_enabled else None,
    )


def _route(strategy: Strategy, candidates: Sequence[Candidate], in_chain: frozenset[str]) -> Route:
    most = strategy.constraints.max_cost_per_request
    bounds = Bounds(
        aliases=_aliases(strategy),
        places=frozenset(PLACES[strategy.constraints.privacy_mode]),
        max_cost=None if most is None else picodollars(most),
    )
    policy = POLICIES.create(strategy.policy.type, config=strategy.policy)
    choose = chooser(strategy) if strategy.routing_rules else None
    return Route(candidates, InChain(policy, in_chain), bounds=bounds, choose=choose)


def chooser(strategy: Strategy) -> Callable[[Request], Sequence[str]]:
    """Return what says whom the rules put in front: targets by priority, then as written."""
    ordered = sorted(strategy.routing_rules, key=lambda r: -PRIORITIES.index(r.priority))
    parsed = [(rules.parse(rule.condition), rule.target) for rule in ordered]

    def choose(request: Request) -> Sequence[str]:
        facts = RequestFacts(request)
        return [target for condition, target in parsed if condition.holds(facts)]

    return choose


class InChain(Policy):
    """A policy for the candidates of the chain; the others answer only when a rule or a name asks for them."""

    def __init__(self, inner: Policy, names: frozenset[str]) -> None:
        super().__init__(inner.config)
        self._inner = inner
        self._names = names
        self.primary = inner.primary  # type: ignore[misc]  # the class variable of the one that decides

    def order(self, request: Request, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates of the chain as the policy orders them."""
        return self._inner.order(request, [c for c in candidates if c.name in self._names])

    def note(self, seen: Seen) -> None:
        """Tell the policy."""
        self._inner.note(seen)
