"""`/api/strategies`, `/api/providers`: how requests are routed, tried without sending any; who is well.

Knows nothing about routing.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from stead.app import providers, strategies, strategy_edit, strategy_library, trials
from stead.app.strategy_library import Found, Library
from stead.config.load import dump_yaml
from stead.core.errors import ConfigError
from stead.inference.compose import Composed
from stead.web.deps import Here
from stead.web.guard import Guarded
from stead.web.shapes import Body, Json, Page

router = APIRouter(route_class=Guarded, tags=["gateway"])
Text = Annotated[str, Field(max_length=100_000)]


class Part(BaseModel):
    """One part of a strategy; `reason` says why it cannot be used here, "" when it can."""

    name: str
    type: str
    model: str
    reason: str


class StrategyHead(BaseModel):
    """One strategy in a list; `served`: this server answers by it now; `file`: the file outside of the library it is from."""

    name: str
    description: str
    in_use: bool
    use_cases: list[str]
    off: dict[str, str]
    own: bool
    served: bool = False
    file: str = ""


class Strategy(StrategyHead):
    """One strategy as it is written, with the state of its parts."""

    yaml: str
    note: str
    parts: list[Part]


class StrategyText(Body):
    """A strategy file with one strategy of that name."""

    yaml: str = Field(max_length=1_000_000)


class Inputs(Body):
    """Texts to try; without any, one of each kind that rules tell apart."""

    inputs: list[Text] = Field(default=[], max_length=50)
    tags: list[Annotated[str, Field(max_length=64)]] = Field(default=[], max_length=16)


class Step(BaseModel):
    """Whom a request would ask; `usd`: at most about so much, None: unknown."""

    name: str
    model: str
    place: str
    usd: float | None


class Outlook(BaseModel):
    """Where one input would go and why."""

    input: str
    steps: list[Step]
    rules: list[str]
    skipped: dict[str, str]
    error: str


class Provider(BaseModel):
    """The health of one endpoint, by the requests of the last hour."""

    name: str
    state: Literal["ok", "open", "unavailable"]
    reason: str
    p50_ms: float | None
    error_rate: float | None
    requests: int


@router.get("/api/strategies")
def list_strategies(here: Here) -> Page[StrategyHead]:
    """List the strategies that the server was started with, then those that are installed; your own come first."""
    library, used = Library.of(here.home), _used(here)
    installed = list(library.all())
    known = {f.strategy.name for f in installed}
    served = () if here.served is None else here.served.found
    given = (f for f in served if f.strategy.name not in known)
    found = [_head(here, f, library, used) for f in (*given, *installed)]
    return Page(items=found, total=len(found))


@router.get("/api/strategies/{name}")
def get_strategy(here: Here, name: str) -> Strategy:
    """Return a strategy as it is written, keys as the variables they come from."""
    library = Library.of(here.home)
    return _whole(here, library.get(name), library)


@router.put("/api/strategies/{name}")
def save_strategy(here: Here, request: Request, name: str, body: StrategyText) -> Strategy:
    """Write a strategy of your own, once it has been checked; the audit keeps where its requests went and go."""
    before = strategy_edit.addresses(name, here.home)
    strategy_edit.save(name, body.yaml, here.home)
    after = strategy_edit.addresses(name, here.home)
    request.state.changed = ({"base_urls": before}, {"base_urls": after})
    library = Library.of(here.home)
    return _whole(here, library.get(name), library)


@router.post("/api/strategies/{name}/test")
def try_strategy(here: Here, name: str, body: Inputs) -> Page[Outlook]:
    """Say whom inputs would ask; nothing is sent."""
    found = Library.of(here.home).get(name)
    made = strategies.composed(found, here.home)
    looks = [
        trials.outlook(found.strategy, made, sample)
        for sample in trials.tagged(trials.samples(body.inputs), frozenset(body.tags))
    ]
    items = [
        Outlook(
            input=look.sample, rules=list(look.rules), skipped=look.skipped, error=look.error,
            steps=[Step(name=s.name, model=s.model, place=s.place, usd=s.dollars) for s in look.steps],
        )
        for look in looks
    ]  # fmt: skip
    return Page(items=items, total=len(items))


@router.post("/api/strategies/{name}/use")
def use_strategy(here: Here, name: str) -> StrategyHead:
    """Remember a strategy as the one that is used when none is named."""
    library = Library.of(here.home)
    found = strategy_library.use(library.get(name).strategy.name, here.home)
    return _head(here, found, library, _used(here))


@router.get("/api/providers")
def list_providers(here: Here) -> Page[Provider]:
    """List the endpoints that strategies and requests know, with their health."""
    found = [
        Provider(name=x.name, state=x.state, reason=x.reason, p50_ms=x.p50_ms, error_rate=x.error_rate,
                 requests=x.requests)
        for x in providers.health(here)
    ]  # fmt: skip
    return Page(items=found, total=len(found))


def _used(here: Here) -> str:
    try:
        return strategy_library.in_use(here.home)
    except ConfigError:
        return ""


def _head(here: Here, found: Found, library: Library, used: str) -> StrategyHead:
    name = found.strategy.name
    served = () if here.served is None else here.served.strategies
    is_given = not any(
        found.path.is_relative_to(p) for p in (here.home.root, strategy_library.BUILT_IN)
    )
    cases = [case for case, names in library.use_cases().items() if name in names]
    return StrategyHead(
        name=name, description=found.strategy.description, in_use=name == used, use_cases=cases,
        off={k: str(v) for k, v in found.off.items()}, own=found.path.is_relative_to(here.home.root),
        served=any(s.name == name for s in served), file=found.path.name if is_given else "",
    )  # fmt: skip


def _whole(here: Here, found: Found, library: Library) -> Strategy:
    made: Composed | None
    try:
        made = strategies.composed(found, here.home)
    except ConfigError:  # a strategy that only trains
        made = None
    parts = [
        Part(name=s.name, type=s.type, model=s.model, reason=s.reason)
        for s in strategies.part_states(found, made)
    ]
    written: Json = strategies.exported(found)
    head = _head(here, found, library, _used(here)).model_dump()
    return Strategy(**head, yaml=dump_yaml(written), note=found.note, parts=parts)
